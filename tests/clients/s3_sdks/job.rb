# What aws-sdk-s3 of Ruby is used for, compared byte by byte. Prints "done".
require "aws-sdk-s3"
require "digest"
require "net/http"

def check(what, got, want)
  raise "#{what}: #{got.inspect}, not #{want.inspect}" unless got == want
end

s3 = Aws::S3::Client.new(endpoint: ENV["S3_URL"], force_path_style: true, region: "us-east-1",
                         access_key_id: ENV["AWS_ACCESS_KEY_ID"], secret_access_key: ENV["AWS_SECRET_ACCESS_KEY"])
bucket = Aws::S3::Bucket.new("ruby", client: s3)
bucket.create
large = Random.bytes(13 << 20)
File.binwrite("ruby.bin", large)

# Small and large, with metadata; the large one goes in parts.
bucket.object("dir/a b+é").put(body: "small", metadata: { "color" => "red" }, content_type: "text/plain", cache_control: "no-store")
got = s3.get_object(bucket: "ruby", key: "dir/a b+é")
check("metadata", [got.body.read, got.metadata, got.content_type, got.cache_control], ["small", { "color" => "red" }, "text/plain", "no-store"])
bucket.object("large").upload_file("ruby.bin", multipart_threshold: 5 << 20)
check("parts", bucket.object("large").etag.end_with?('-3"'), true)
bucket.object("large").download_file("ruby.back", chunk_size: 5 << 20, mode: "get_range")
check("large", Digest::SHA256.file("ruby.back").hexdigest, Digest::SHA256.hexdigest(large))
check("range", bucket.object("large").get(range: "bytes=100-199").body.read.b, large[100..199])
bucket.object("stream").upload_stream(part_size: 5 << 20) { |out| out << large }
check("stream", bucket.object("stream").get.body.read.b == large, true)

# Copies, in parts too.
bucket.object("copy").copy_from(bucket.object("large"), multipart_copy: true, content_length: large.size, copy_source_region: "us-east-1")
check("copy", bucket.object("copy").get.body.read.b == large, true)
bucket.object("copy").move_to(bucket.object("moved"))
check("moved", [bucket.object("copy").exists?, bucket.object("moved").exists?], [false, true])

# Pages.
250.times { |i| bucket.object("many/%03d" % i).put(body: i.to_s) }
check("pages", bucket.objects(prefix: "many/", max_keys: 100).map(&:key), (0...250).map { |i| "many/%03d" % i })
check("groups", s3.list_objects_v2(bucket: "ruby", delimiter: "/").common_prefixes.map(&:prefix), ["dir/", "many/"])

# Signed addresses.
url = URI(bucket.object("dir/a b+é").presigned_url(:get, expires_in: 60))
check("presigned", Net::HTTP.get_response(url).body, "small")
url = URI(bucket.object("put").presigned_url(:put, expires_in: 60))
check("presigned put", Net::HTTP.start(url.host, url.port) { |h| h.send_request("PUT", url.request_uri, "by address", "content-type" => "") }.code, "200")
check("put", bucket.object("put").get.body.read, "by address")
post = bucket.presigned_post(key: "posted", content_length_range: 1..100)
form = post.fields.to_a + [["file", "from a form"]]
request = Net::HTTP::Post.new(URI(post.url))
request.set_form(form, "multipart/form-data")
check("form", Net::HTTP.start(URI(post.url).host, URI(post.url).port) { |h| h.request(request) }.code, "204")
check("posted", bucket.object("posted").get.body.read, "from a form")

# Versions, and what they leave.
s3.put_bucket_versioning(bucket: "ruby", versioning_configuration: { status: "Enabled" })
first = s3.put_object(bucket: "ruby", key: "versioned", body: "1").version_id
s3.put_object(bucket: "ruby", key: "versioned", body: "2")
bucket.object("versioned").delete
check("marker", bucket.object("versioned").exists?, false)
check("version", s3.get_object(bucket: "ruby", key: "versioned", version_id: first).body.read, "1")

begin
  s3.get_object(bucket: "ruby", key: "absent")
  raise "absent was there"
rescue Aws::S3::Errors::NoSuchKey
end
begin
  s3.put_object(bucket: "ruby", key: "large", body: "", if_none_match: "*")
  raise "if_none_match was not minded"
rescue ArgumentError, Aws::S3::Errors::PreconditionFailed # a version before that parameter refuses it itself
end
bucket.object_versions.batch_delete!
bucket.delete!
puts "done"
