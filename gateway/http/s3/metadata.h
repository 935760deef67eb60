// The metadata of a value as S3's headers have it.
//
// User metadata that is not ASCII travels as RFC 2047 has it, as in S3: a value made of encoded
// words in UTF-8 is decoded before it is stored, and one that is not ASCII, or looks like an
// encoded word, is encoded before it is sent. Bytes that are not UTF-8 are refused.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// From the headers of a PUT, POST or copy.
Error meta_of(const Call& call, ObjectMeta& meta);
// Of it, where a website sends who asks for the object.
Error redirect_of(const Call& call, ObjectMeta& meta);
// Of a GET or HEAD; query parameters "response-…" override some.
void set_object_headers(Call& call, const objects::Info& info);

std::string encode_words(std::string_view text);
std::string decode_words(std::string_view text);

}  // namespace cairn::s3
