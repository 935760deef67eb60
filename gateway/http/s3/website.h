// Buckets as websites, as S3's website endpoints serve them: only GET and HEAD, nothing is signed,
// whoever asks has the rights of everybody, and errors are pages of HTML.
//
// Threads: any.
#pragma once

#include "core/store/website.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// The bucket of BUCKET.s3-website.DOMAIN or BUCKET.s3-website-REGION.DOMAIN, by what stands before
// the domain (Service::bucket_of_host); empty: it is none of these.
std::string_view site_of_host(std::string_view before_domain, std::string_view region);
// The body of PutBucketWebsite.
Error parse_website(const std::string& xml, Website& site);
// Answers `call`, whose bucket has a name and no more yet.
awaitable<Error> serve_site(Call& call);
// The page in which an error is told.
std::string error_page(const Error& error, std::string_view request_id);

}  // namespace cairn::s3
