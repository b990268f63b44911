// The JavaScript SDK v3 against the endpoint in AWS_ENDPOINT_URL: whatever goes wrong ends it with a message.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

const require = createRequire(process.env.NODE_FOLDER + "/");
const {
  S3Client, CreateBucketCommand, PutObjectCommand, GetObjectCommand, HeadObjectCommand, CopyObjectCommand,
  DeleteObjectsCommand, PutObjectTaggingCommand, GetObjectTaggingCommand, paginateListObjectsV2, waitUntilObjectExists,
} = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const s3 = new S3Client({ forcePathStyle: true, endpoint: process.env.AWS_ENDPOINT_URL, region: "us-east-1" });
const Bucket = process.env.BUCKET;
await s3.send(new CreateBucketCommand({ Bucket }));

for (const ChecksumAlgorithm of [undefined, "CRC32", "CRC32C", "SHA1", "SHA256"]) {
  const Key = `folder/ä b+${ChecksumAlgorithm}`;
  await s3.send(new PutObjectCommand({ Bucket, Key, Body: "content", Metadata: { one: "eins" }, ChecksumAlgorithm }));
  const got = await s3.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
  assert.equal(await got.Body.transformToString(), "content");
  assert.deepEqual(got.Metadata, { one: "eins" });
}

const large = Buffer.alloc(12 * 1024 * 1024, "nephele");
const upload = new Upload({ client: s3, params: { Bucket, Key: "large", Body: Readable.from([large.subarray(0, 7e6), large.subarray(7e6)]) } });
await upload.done();
await waitUntilObjectExists({ client: s3, maxWaitTime: 10 }, { Bucket, Key: "large" });
const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "large" }));
assert.equal(head.ContentLength, large.length);
const whole = await s3.send(new GetObjectCommand({ Bucket, Key: "large" }));
assert.ok(Buffer.from(await whole.Body.transformToByteArray()).equals(large));
const range = await s3.send(new GetObjectCommand({ Bucket, Key: "large", Range: "bytes=5-9" }));
assert.equal(await range.Body.transformToString(), large.toString("latin1", 5, 10));

const source = encodeURI(`${Bucket}/folder/ä b+CRC32`).replaceAll("+", "%2B");
await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: source }));
const Tagging = { TagSet: [{ Key: "k", Value: "v" }] };
await s3.send(new PutObjectTaggingCommand({ Bucket, Key: "copy", Tagging }));
assert.deepEqual((await s3.send(new GetObjectTaggingCommand({ Bucket, Key: "copy" }))).TagSet, Tagging.TagSet);

const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "copy" }), { expiresIn: 60 });
assert.equal(await (await fetch(url)).text(), "content");
const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "presigned" }), { expiresIn: 60 });
assert.equal((await fetch(put, { method: "PUT", body: "by url" })).status, 200);

await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: "nothing" })), { name: "NoSuchKey" });
await assert.rejects(
  s3.send(new PutObjectCommand({ Bucket, Key: "copy", Body: "x", IfNoneMatch: "*" })), { name: "PreconditionFailed" });

const keys = [];
for await (const page of paginateListObjectsV2({ client: s3, pageSize: 3 }, { Bucket })) {
  keys.push(...page.Contents.map((one) => one.Key));
}
assert.equal(keys.length, 8);
const gone = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }));
assert.equal(gone.Deleted.length, 8);
console.log("walked");
