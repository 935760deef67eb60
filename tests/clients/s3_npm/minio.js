// minio-js: tags, forms, versions' listing, copies, what is not set.
'use strict';
const minio = require('minio');
const { assert, collect, password, port, random, refused, run, submit, user } = require('./support');

run(async () => {
  const client = new minio.Client({ endPoint: '127.0.0.1', port, useSSL: false, accessKey: user, secretKey: password });
  const data = random(12 << 20);
  await client.makeBucket('minio-js', 'us-east-1');
  await refused(client.getBucketTagging('minio-js'), 'NoSuchTagSet');
  await client.setBucketTagging('minio-js', { team: 'a b', cost: 'none' });
  assert.deepEqual(await client.getBucketTagging('minio-js'), [{ Key: 'cost', Value: 'none' }, { Key: 'team', Value: 'a b' }]);
  await client.removeBucketTagging('minio-js');
  await refused(client.getBucketTagging('minio-js'), 'NoSuchTagSet');

  await client.putObject('minio-js', 'small', 'value', 5, { 'Content-Type': 'text/plain', 'X-Amz-Meta-Color': 'red' });
  await client.putObject('minio-js', 'dir/large', data, data.length);
  await client.setObjectTagging('minio-js', 'small', { a: 'b' });
  await client.setObjectTagging('minio-js', 'dir/large', { in: 'parts' });
  assert.deepEqual(await client.getObjectTagging('minio-js', 'small'), [{ Key: 'a', Value: 'b' }]);
  assert.deepEqual(await client.getObjectTagging('minio-js', 'dir/large'), [{ Key: 'in', Value: 'parts' }]);
  assert.ok((await collect(await client.getObject('minio-js', 'dir/large'))).equals(data));
  await client.setObjectTagging('minio-js', 'small', { c: 'd', 'e f': '\u00e9' });
  assert.deepEqual(await client.getObjectTagging('minio-js', 'small'), [{ Key: 'c', Value: 'd' }, { Key: 'e f', Value: '\u00e9' }]);
  assert.equal((await client.statObject('minio-js', 'small')).metaData.color, 'red');
  await client.removeObjectTagging('minio-js', 'small');
  assert.deepEqual(await client.getObjectTagging('minio-js', 'small'), []);
  await refused(client.getObjectTagging('minio-js', 'none'), 'NoSuchKey');

  const policy = client.newPostPolicy();
  policy.setBucket('minio-js');
  policy.setKeyStartsWith('up/');
  policy.setExpires(new Date(Date.now() + 60000));
  policy.setContentLengthRange(1, 1 << 20);
  policy.setContentTypeStartsWith('image/');
  const { postURL, formData } = await client.presignedPostPolicy(policy);
  const fields = { ...formData, key: 'up/${filename}', 'Content-Type': 'image/png' };
  assert.equal((await submit(postURL, fields, data.subarray(0, 100000))).status, 204);
  assert.ok((await collect(await client.getObject('minio-js', 'up/a b.png'))).equals(data.subarray(0, 100000)));
  assert.equal((await submit(postURL, fields, data)).status, 400);
  assert.equal((await submit(postURL, { ...fields, key: 'else' }, 'x')).status, 403);

  const url = await client.presignedGetObject('minio-js', 'up/a b.png', 60, { 'response-content-type': 'text/x' });
  const got = await fetch(url);
  assert.equal(got.headers.get('content-type'), 'text/x');
  assert.equal((await got.arrayBuffer()).byteLength, 100000);
  const put = await client.presignedPutObject('minio-js', 'put', 60);
  assert.equal((await fetch(put, { method: 'PUT', body: 'by url' })).status, 200);

  await client.copyObject('minio-js', 'copy', '/minio-js/dir/large');
  assert.deepEqual(await client.getObjectTagging('minio-js', 'copy'), [{ Key: 'in', Value: 'parts' }]);
  const listed = await collect(client.listObjects('minio-js', '', true, { IncludeVersion: true }));
  assert.deepEqual(listed.map((o) => [o.name, o.versionId, o.isDeleteMarker]),
                   ['copy', 'dir/large', 'put', 'small', 'up/a b.png'].map((name) => [name, 'null', false]));
  await refused(client.getBucketPolicy('minio-js'), 'NoSuchBucketPolicy');
  await refused(client.getBucketLifecycle('minio-js'), 'NoSuchLifecycleConfiguration');
  await refused(client.getBucketEncryption('minio-js'), 'ServerSideEncryptionConfigurationNotFoundError');
  await refused(client.getBucketReplication('minio-js'), 'ReplicationConfigurationNotFoundError');
  await refused(client.getObjectLockConfig('minio-js'), 'ObjectLockConfigurationNotFoundError');
  await client.getBucketNotification('minio-js');
  await client.removeObjects('minio-js', listed.map((o) => ({ name: o.name, versionId: o.versionId })));
  assert.deepEqual(await collect(client.listObjects('minio-js', '', true)), []);
  await client.removeBucket('minio-js');
});
