// What the programs share: where the server is, and how they say that something is not as it should be.
'use strict';
const assert = require('node:assert/strict');
const crypto = require('node:crypto');

const port = Number(process.env.S3_PORT), user = process.env.S3_USER, password = process.env.S3_PASSWORD;
const endpoint = `http://127.0.0.1:${port}`;

// A call that is to fail: with this code and status.
async function refused(promise, code, status) {
  let e;
  try {
    await promise;
  } catch (thrown) {
    e = thrown;
  }
  assert.ok(e, `no ${code}`);
  const found = [e.code ?? e.name, e.statusCode ?? e.$metadata?.httpStatusCode];
  assert.ok([e.code, e.name, e.Code].includes(code), `${code} wanted: ${found} ${e.message}`);
  if (status && found[1]) assert.equal(found[1], status, code);
  return e;
}

// A form as a browser sends it: fields, then the file.
async function submit(url, fields, file, headers = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append('file', new Blob([file], { type: 'image/png' }), 'a b.png');
  return await fetch(url, { method: 'POST', body: form, headers, redirect: 'manual' });
}

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return stream.readableObjectMode || (parts.length > 0 && !Buffer.isBuffer(parts[0])) ? parts : Buffer.concat(parts);
}

function run(job) {
  job().then(() => {
    console.log('done');
    process.exit(0);  // answers that nobody read would hold it
  }, (e) => {
    console.error(e);
    process.exit(1);
  });
}

module.exports = { assert, collect, endpoint, password, port, random: crypto.randomBytes, refused, run, submit, user };
