// @aws-sdk v3: tags everywhere, CORS, forms, URLs, what is not set. And v2, which signs URLs in the old way.
'use strict';
const s3 = require('@aws-sdk/client-s3');
const { Upload } = require('@aws-sdk/lib-storage');
const { createPresignedPost } = require('@aws-sdk/s3-presigned-post');
const { getSignedUrl } = require('@aws-sdk/s3-request-presigner');
const { assert, endpoint, password, random, refused, run, submit, user } = require('./support');

const Bucket = 'aws-sdk';
const client = new s3.S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: { accessKeyId: user, secretAccessKey: password } });
const send = (name, input) => client.send(new s3[name + 'Command']({ Bucket, ...input }));
const tags = async (Key) => Object.fromEntries((await send('GetObjectTagging', { Key })).TagSet.map((t) => [t.Key, t.Value]));

async function tagging() {
  const data = random(12 << 20);
  await send('PutObject', { Key: 'k', Body: 'value', Tagging: 'a=b&c=d%20e' });
  assert.deepEqual(await tags('k'), { a: 'b', c: 'd e' });
  const got = await send('GetObject', { Key: 'k' });
  assert.equal(got.TagCount, 2);
  assert.equal(await got.Body.transformToString(), 'value');
  await send('CopyObject', { Key: 'copy', CopySource: `${Bucket}/k` });
  await send('CopyObject', { Key: 'other', CopySource: `${Bucket}/k`, TaggingDirective: 'REPLACE', Tagging: 'x=y' });
  assert.deepEqual([await tags('copy'), await tags('other')], [{ a: 'b', c: 'd e' }, { x: 'y' }]);
  await new Upload({ client, params: { Bucket, Key: 'parts', Body: data }, tags: [{ Key: 'in', Value: 'parts' }] }).done();
  assert.deepEqual(await tags('parts'), { in: 'parts' });
  assert.ok(Buffer.from(await (await send('GetObject', { Key: 'parts' })).Body.transformToByteArray()).equals(data));
  await send('PutObjectTagging', { Key: 'parts', Tagging: { TagSet: [{ Key: 'z', Value: '' }] } });
  assert.deepEqual(await tags('parts'), { z: '' });
  await refused(send('PutObjectTagging', { Key: 'k', Tagging: { TagSet: [{ Key: 'aws:x', Value: '' }] } }), 'InvalidTag', 400);
  await refused(send('PutObjectTagging', { Key: 'k', Tagging: { TagSet: Array.from({ length: 11 }, (_, i) => ({ Key: `k${i}`, Value: '' })) } }), 'BadRequest', 400);
  await send('DeleteObjectTagging', { Key: 'k' });
  assert.deepEqual(await tags('k'), {});
  assert.equal((await send('GetObject', { Key: 'k' })).TagCount, undefined);
  await send('PutBucketTagging', { Tagging: { TagSet: [{ Key: 'team', Value: 'a' }] } });
  assert.deepEqual((await send('GetBucketTagging')).TagSet, [{ Key: 'team', Value: 'a' }]);
  await send('DeleteBucketTagging');
  await refused(send('GetBucketTagging'), 'NoSuchTagSet', 404);
}

async function pages() {
  const CORSRules = [{ AllowedOrigins: ['https://*.example'], AllowedMethods: ['PUT', 'POST', 'GET'], AllowedHeaders: ['*'], ExposeHeaders: ['ETag'], MaxAgeSeconds: 60 }];
  await refused(send('GetBucketCors'), 'NoSuchCORSConfiguration', 404);
  await send('PutBucketCors', { CORSConfiguration: { CORSRules } });
  assert.deepEqual((await send('GetBucketCors')).CORSRules, CORSRules);
  const origin = 'https://www.example';
  const { url, fields } = await createPresignedPost(client, {
    Bucket, Key: 'form/${filename}', Expires: 60, Fields: { 'Content-Type': 'image/png', success_action_status: '201' },
    Conditions: [['content-length-range', 1, 1000], ['starts-with', '$Content-Type', 'image/']] });
  const answer = await submit(url, fields, 'picture', { origin });
  assert.deepEqual([answer.status, answer.headers.get('access-control-allow-origin')], [201, origin]);
  assert.match(await answer.text(), /<Key>form\/a b.png<\/Key>/);
  assert.equal((await send('HeadObject', { Key: 'form/a b.png' })).ContentType, 'image/png');
  // As a browser does it: asks whether it may, then puts.
  const target = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: 'put', ContentType: 'text/x', Tagging: 'a=b' }),
                                    { unhoistableHeaders: new Set(['x-amz-tagging']), signableHeaders: new Set(['content-type', 'x-amz-tagging']) });
  const asked = await fetch(target, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'content-type,x-amz-tagging' } });
  assert.deepEqual([asked.status, asked.headers.get('access-control-allow-headers'), asked.headers.get('access-control-max-age')],
                   [200, 'content-type, x-amz-tagging', '60']);
  const put = await fetch(target, { method: 'PUT', body: 'by a page', headers: { origin, 'content-type': 'text/x', 'x-amz-tagging': 'a=b' } });
  assert.deepEqual([put.status, put.headers.get('access-control-expose-headers')], [200, 'ETag'], await put.text());
  assert.deepEqual(await tags('put'), { a: 'b' });
  assert.equal((await fetch(await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: 'hoisted', Tagging: 'c=d' })), { method: 'PUT', body: 'x' })).status, 200);
  assert.deepEqual(await tags('hoisted'), { c: 'd' });
  const elsewhere = await fetch(target, { method: 'OPTIONS', headers: { origin: 'https://else', 'access-control-request-method': 'PUT' } });
  assert.equal(elsewhere.status, 403);
  await send('DeleteBucketCors');
}

async function unset() {
  for (const [name, code] of Object.entries({
    GetBucketEncryption: 'ServerSideEncryptionConfigurationNotFoundError', GetBucketLifecycleConfiguration: 'NoSuchLifecycleConfiguration',
    GetBucketPolicy: 'NoSuchBucketPolicy', GetBucketPolicyStatus: 'NoSuchBucketPolicy',
    GetBucketReplication: 'ReplicationConfigurationNotFoundError', GetBucketWebsite: 'NoSuchWebsiteConfiguration',
    GetObjectLockConfiguration: 'ObjectLockConfigurationNotFoundError', GetPublicAccessBlock: 'NoSuchPublicAccessBlockConfiguration' })) {
    await refused(send(name), code, 404);
  }
  assert.equal((await send('GetBucketVersioning')).Status, undefined);
  assert.equal((await send('GetBucketRequestPayment')).Payer, 'BucketOwner');
  const versions = (await send('ListObjectVersions')).Versions;
  assert.ok(versions.every((v) => v.VersionId === 'null' && v.IsLatest));
  const { Deleted } = await send('DeleteObjects', { Delete: { Objects: versions.map(({ Key, VersionId }) => ({ Key, VersionId })) } });
  assert.equal(Deleted.length, versions.length);
}

// URLs and forms that are signed in the old way, and calls too.
async function version2() {
  const AWS = require('aws-sdk');
  for (const signatureVersion of ['v2', 'v4']) {
    const old = new AWS.S3({ endpoint, region: 'us-east-1', accessKeyId: user, secretAccessKey: password, s3ForcePathStyle: true, signatureVersion });
    const Key = `old/a b+${signatureVersion}`;
    await old.upload({ Bucket, Key, Body: random(6 << 20), Tagging: 'a=b' }, { partSize: 5 << 20 }).promise();
    await old.putObject({ Bucket, Key: Key + '2', Body: 'x', Tagging: 'c=d', Metadata: { e: 'f' } }).promise();
    assert.equal((await old.getObjectTagging({ Bucket, Key }).promise()).TagSet.length, 1, signatureVersion);
    const url = old.getSignedUrl('getObject', { Bucket, Key, Expires: 60, ResponseContentType: 'text/y' });
    const got = await fetch(url);
    assert.deepEqual([got.status, got.headers.get('content-type')], [200, 'text/y'], url);
    await got.arrayBuffer();
    const put = old.getSignedUrl('putObject', { Bucket, Key: Key + '3', Expires: 60, ContentType: 'text/z' });
    const answer = await fetch(put, { method: 'PUT', body: 'z', headers: { 'content-type': 'text/z' } });
    assert.equal(answer.status, 200, put + (await answer.text()));
    const { url: action, fields } = old.createPresignedPost({ Bucket, Fields: { key: Key + '4' }, Expires: 60 });
    assert.equal((await submit(action, fields, 'form')).status, 204);
    const { Versions } = await old.listObjectVersions({ Bucket, Prefix: 'old/' }).promise();
    assert.equal(Versions.length, 4);
    await old.deleteObjects({ Bucket, Delete: { Objects: Versions.map((v) => ({ Key: v.Key, VersionId: v.VersionId })) } }).promise();
  }
}

run(async () => {
  await send('CreateBucket');
  await tagging();
  await pages();
  await version2();
  await unset();
  await send('DeleteBucket');
});
