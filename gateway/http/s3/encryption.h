// Server-side encryption (objects/encryption.h) as S3's requests and answers have it, and what a
// bucket does with what says nothing of it.
//
// A customer's key comes over TLS, or from this very machine.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// What a request that writes an object honours of it, and one about an object that there is; and
// what a copy does of its source.
#define CAIRN_S3_CUSTOMER_KEY                                                                  \
  "x-amz-server-side-encryption-customer-algorithm x-amz-server-side-encryption-customer-key " \
  "x-amz-server-side-encryption-customer-key-md5 "
#define CAIRN_S3_ENCRYPTION                                                   \
  "x-amz-server-side-encryption x-amz-server-side-encryption-aws-kms-key-id " \
  "x-amz-server-side-encryption-context "                                     \
  "x-amz-server-side-encryption-bucket-key-enabled " CAIRN_S3_CUSTOMER_KEY
#define CAIRN_S3_SOURCE_KEY                                      \
  "x-amz-copy-source-server-side-encryption-customer-algorithm " \
  "x-amz-copy-source-server-side-encryption-customer-key "       \
  "x-amz-copy-source-server-side-encryption-customer-key-md5 "

// How a request, or else its bucket, wants what it writes encrypted.
Error encryption_of(const Call& call, objects::EncryptionWish& wish);
// Whether the request itself says something of it.
bool says_encryption(const http::Request& request);
// The key that a request brings for the object that it is about, or for the source of a copy;
// empty: none.
Error customer_key_of(const Call& call, std::string& key);
Error source_key_of(const Call& call, std::string& key);
// The encryption of an upload that is begun. Its ObjectMeta::extra gets what the request says of
// it, by the names of the headers, since policies ask for that whenever a part comes.
Error begin_encryption(const Call& call, ObjectMeta& upload);
// For a part of it: the bytes are to be encrypted as it says.
Error encrypt_part(const Call& call, const ObjectMeta& upload, objects::Upload& bytes);
// Of a request about it that may bring the key, and need not.
Error check_upload_key(const Call& call, const ObjectMeta& upload);
// Of a request for what is known of an object, which takes its customer's key.
Error check_object_key(const Call& call, const ObjectMeta& meta);

// What an answer says; of a write its context, too.
void say_encryption(Call& call, const objects::Encryption& encryption, bool written);
void say_encryption(Call& call, std::string_view encryption, bool written);  // as metadata has it

// arn:aws:kms:REGION:ACCOUNT:key/ID
std::string key_arn(std::string_view region, std::string_view id);

}  // namespace cairn::s3
