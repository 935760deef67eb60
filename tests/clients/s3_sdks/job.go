// What the AWS SDK for Go is used for, compared byte by byte. Prints "done".
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/aws/aws-sdk-go/service/s3/s3manager"
)

func check(what string, holds bool, seen ...interface{}) {
	if !holds {
		fmt.Fprintln(os.Stderr, what, seen)
		os.Exit(1)
	}
}

func must(what string, err error) { check(what, err == nil, err) }

func code(err error) string {
	if e, ok := err.(awserr.Error); ok {
		return e.Code()
	}
	return fmt.Sprint(err)
}

func main() {
	sess := session.Must(session.NewSession(&aws.Config{
		Endpoint: aws.String(os.Getenv("S3_URL")), Region: aws.String("us-east-1"), S3ForcePathStyle: aws.Bool(true)}))
	c := s3.New(sess)
	bucket := aws.String("golang")
	_, err := c.CreateBucket(&s3.CreateBucketInput{Bucket: bucket})
	must("create", err)
	must("wait", c.WaitUntilBucketExists(&s3.HeadBucketInput{Bucket: bucket}))
	large := make([]byte, 23<<20)
	_, err = rand.Read(large)
	must("random", err)

	// An upload of unknown size, in parts at once, and a download in ranges at once.
	uploader, downloader := s3manager.NewUploader(sess), s3manager.NewDownloader(sess)
	pipe, in := io.Pipe()
	go func() {
		_, err := in.Write(large)
		in.CloseWithError(err)
	}()
	up, err := uploader.Upload(&s3manager.UploadInput{Bucket: bucket, Key: aws.String("dir/large é"), Body: pipe,
		Metadata: map[string]*string{"Color": aws.String("red")}, Tagging: aws.String("a=b")})
	must("upload", err)
	check("location", strings.Contains(up.Location, "golang"), up.Location)
	back := aws.NewWriteAtBuffer(nil)
	_, err = downloader.Download(back, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("dir/large é")})
	must("download", err)
	check("bytes", bytes.Equal(back.Bytes(), large))
	head, err := c.HeadObject(&s3.HeadObjectInput{Bucket: bucket, Key: aws.String("dir/large é")})
	must("head", err)
	check("metadata", head.Metadata["Color"] != nil && *head.Metadata["Color"] == "red", head.Metadata)
	tags, err := c.GetObjectTagging(&s3.GetObjectTaggingInput{Bucket: bucket, Key: aws.String("dir/large é")})
	must("tags", err)
	check("tags", len(tags.TagSet) == 1 && *tags.TagSet[0].Value == "b", tags)

	// Checksums, which it verifies.
	sum := sha256.Sum256([]byte("summed"))
	_, err = c.PutObject(&s3.PutObjectInput{Bucket: bucket, Key: aws.String("sum"), Body: strings.NewReader("summed"),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:]))})
	must("checksum", err)
	got, err := c.GetObject(&s3.GetObjectInput{Bucket: bucket, Key: aws.String("sum"), ChecksumMode: aws.String("ENABLED")})
	must("get", err)
	check("sum", got.ChecksumSHA256 != nil && *got.ChecksumSHA256 == base64.StdEncoding.EncodeToString(sum[:]), got)
	text, err := io.ReadAll(got.Body)
	check("summed", err == nil && string(text) == "summed", err, string(text))

	// Copies and pages.
	_, err = c.CopyObject(&s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String("golang/dir/large%20%C3%A9")})
	must("copy", err)
	for i := 0; i < 230; i++ {
		_, err = c.PutObject(&s3.PutObjectInput{Bucket: bucket, Key: aws.String(fmt.Sprintf("many/%03d", i)), Body: strings.NewReader("x")})
		must("put", err)
	}
	seen := 0
	must("pages", c.ListObjectsV2Pages(&s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("many/"), MaxKeys: aws.Int64(100)},
		func(page *s3.ListObjectsV2Output, last bool) bool {
			seen += len(page.Contents)
			return true
		}))
	check("pages", seen == 230, seen)

	// Signed addresses.
	get, _ := c.GetObjectRequest(&s3.GetObjectInput{Bucket: bucket, Key: aws.String("sum")})
	url, err := get.Presign(time.Minute)
	must("presign", err)
	answer, err := http.Get(url)
	must("fetch", err)
	text, _ = io.ReadAll(answer.Body)
	check("fetched", answer.StatusCode == 200 && string(text) == "summed", answer.Status)

	_, err = c.GetObject(&s3.GetObjectInput{Bucket: bucket, Key: aws.String("absent")})
	check("absent", code(err) == s3.ErrCodeNoSuchKey, err)
	_, err = c.GetObject(&s3.GetObjectInput{Bucket: bucket, Key: aws.String("sum"), IfMatch: aws.String(`"no"`)})
	check("condition", code(err) == "PreconditionFailed", err)
	_, err = c.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket})
	check("full", code(err) == "BucketNotEmpty", err)
	must("empty", s3manager.NewBatchDeleteWithClient(c).Delete(aws.BackgroundContext(),
		s3manager.NewDeleteListIterator(c, &s3.ListObjectsInput{Bucket: bucket})))
	_, err = c.DeleteBucket(&s3.DeleteBucketInput{Bucket: bucket})
	must("delete", err)
	fmt.Println("done")
}
