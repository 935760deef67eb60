// Who may, at every door: each row names its action, and a key that its caller may not touch is not
// touched.
#include <gtest/gtest.h>

#include <climits>
#include <set>

#include "gateway/auth/credentials.h"
#include "gateway/grpc/admin_service.h"
#include "gateway/grpc/collections_service.h"
#include "gateway/grpc/connections.h"
#include "gateway/grpc/events_service.h"
#include "gateway/grpc/health.h"
#include "gateway/grpc/kv_service.h"
#include "gateway/grpc/objects_service.h"
#include "gateway/grpc/reflection.h"
#include "gateway/http/s3/service.h"
#include "tests/core/principals.h"
#include "tests/kv/engine_fixture.h"

namespace cairn {
namespace {

using Rights = kv::EngineTest;  // a store, and what the doors need beside it

TEST_F(Rights, EveryRowOfEveryDoorNamesItsAction) {
  std::set<std::pair<std::string, std::string>> resp, grpc;
  for (const kv::Row& row : table.rows()) {
    EXPECT_EQ(row.action.door, "resp");
    EXPECT_EQ(row.action.name, row.name);
    EXPECT_TRUE(resp.emplace(row.action.door, row.action.name).second) << row.name;
  }
  EXPECT_GT(resp.size(), 100u);

  size_t s3_rows = 0;
  for (auto rows : s3::all_rows()) {
    for (const s3::Row& row : rows) {
      EXPECT_EQ(row.action.door, "s3") << row.name;
      EXPECT_FALSE(row.action.name.empty()) << row.name;
      EXPECT_NE(row.action.access, Access::kNone) << row.name;
      // Who may read an object may not for that read a version of it.
      const bool versions =
          (" " + std::string(row.params) + " ").find(" versionId ") != std::string::npos;
      const bool locks = row.subresource == "legal-hold" || row.subresource == "retention";
      const bool own = !locks && row.subresource != "restore";  // S3 has no other action for these
      EXPECT_EQ(versions && own, !row.of_version.name.empty()) << row.name;
      EXPECT_NE(row.of_version.name, row.action.name) << row.name;
      s3_rows++;
    }
  }
  EXPECT_GT(s3_rows, 45u);

  const auto connections =
      std::make_shared<rpc::Connections>(store->any_executor(), store->clock(), INT_MAX);
  const rpc::Shared shared{*store, users, *connections};
  const rpc::KeyValueService key_value(shared);
  const rpc::ObjectsService objects(shared);
  const rpc::CollectionsService collections(shared);
  const rpc::EventsService events(shared);
  const rpc::AdminService admin(shared, *server, *engines.front());
  const rpc::ReflectionService reflection(shared, {});
  const rpc::HealthService health(shared, {});
  for (const rpc::Service* service : std::initializer_list<const rpc::Service*>{
           &key_value, &objects, &collections, &events, &admin, &reflection, &health}) {
    for (const auto& row : service->rows()) {
      EXPECT_EQ(row.action.door, "grpc");
      EXPECT_EQ("/" + std::string(row.action.name), row.path);
      EXPECT_EQ(row.action.access == Access::kNone, service == &reflection || service == &health)
          << row.path;
      EXPECT_TRUE(grpc.emplace(row.action.door, row.action.name).second) << row.path;
    }
  }
  EXPECT_GT(grpc.size(), 60u);
}

TEST_F(Rights, AGrpcMethodReachesOnlyKeysThatItsCallerMayTouchInItsWay) {
  ASSERT_TRUE(store->create_bucket("photos").ok());
  const rpc::Caller caller{principal_with(allow("s3:GetObject", "db0/a:*")),
                           {"grpc", "cairn.v1.KeyValue/Txn", Access::kRead | Access::kWrite}};
  const auto reach = [&](Access access, const std::string& space, const std::string& name) {
    v1::Key key;
    key.set_namespace_(space);
    key.set_key(name);
    grpc::Status status;
    const NamespacePtr ns = rpc::find_namespace(*store, caller, access, key, status);
    EXPECT_EQ(ns != nullptr, status.ok());
    return status.error_code();
  };
  EXPECT_EQ(reach(Access::kRead, "db0", "a:1"), grpc::OK);
  EXPECT_EQ(reach(Access::kRead, "", "a:1"), grpc::OK);
  EXPECT_EQ(reach(Access::kRead, "db0", "b:1"), grpc::PERMISSION_DENIED);
  EXPECT_EQ(reach(Access::kWrite, "db0", "a:1"), grpc::PERMISSION_DENIED);
  EXPECT_EQ(reach(Access::kRead, "photos", "a:1"), grpc::PERMISSION_DENIED);
  EXPECT_EQ(reach(Access::kRead, "nowhere", "a:1"), grpc::PERMISSION_DENIED);  // nor told that
  grpc::Status status;
  EXPECT_EQ(rpc::find_namespace(*store, caller, Access::kRead, "db0", status), nullptr);
  EXPECT_EQ(status.error_code(), grpc::PERMISSION_DENIED);
}

// What is asked of the caller is what the command does to the key.
TEST_F(Rights, AnOperationOnACollectionAsksForWhatItsCommandDoes) {
  const auto connections =
      std::make_shared<rpc::Connections>(store->any_executor(), store->clock(), INT_MAX);
  const rpc::Shared shared{*store, users, *connections, 60'000, false, &engines};
  const auto ask = [&]<class Request>(Access right, Request request, const std::string& name) {
    request.mutable_key()->set_key(name);
    std::string actions;
    const auto add = [&](Access part, std::string_view action) {
      if ((right & part) != Access::kNone) append(actions, " ", action);
    };
    add(Access::kRead, "s3:GetObject");
    add(Access::kWrite | Access::kInsert, "s3:PutObject");
    add(Access::kDelete, "s3:DeleteObject");
    const rpc::Caller caller{principal_with(allow(actions, "db0/a:*")),
                             {"grpc", "cairn.v1.KeyValue/Txn", Access::kAll}};
    rpc::CollectionStep step(*store);
    EXPECT_TRUE(step.ask(shared, request).ok());
    return step.enter(shared, caller).error_code();
  };
  v1::HashGetRequest get;
  get.add_names("f");
  EXPECT_EQ(ask(Access::kRead, get, "a:1"), grpc::OK);
  EXPECT_EQ(ask(Access::kRead, get, "b:1"), grpc::PERMISSION_DENIED);
  EXPECT_EQ(ask(Access::kWrite, get, "a:1"), grpc::PERMISSION_DENIED);
  v1::HashDeleteRequest del;
  del.add_names("f");
  EXPECT_EQ(ask(Access::kDelete, del, "a:1"), grpc::OK);
  EXPECT_EQ(ask(Access::kRead | Access::kWrite | Access::kInsert, del, "a:1"),
            grpc::PERMISSION_DENIED);
  EXPECT_EQ(ask(Access::kDelete, v1::ListPopRequest(), "a:1"), grpc::PERMISSION_DENIED);
  EXPECT_EQ(ask(Access::kDelete | Access::kRead, v1::ListPopRequest(), "a:1"), grpc::OK);
  // Of several keys each is asked for, in its way.
  v1::ListMoveRequest move;
  move.set_to("a:2");
  EXPECT_EQ(ask(Access::kDelete | Access::kRead | Access::kInsert, move, "a:1"), grpc::OK);
  EXPECT_EQ(ask(Access::kDelete | Access::kRead, move, "a:1"), grpc::PERMISSION_DENIED);
  move.set_wait_ms(1);
  EXPECT_EQ(ask(Access::kDelete | Access::kRead | Access::kInsert, move, "a:1"), grpc::OK);
  EXPECT_EQ(ask(Access::kInsert, move, "a:1"), grpc::PERMISSION_DENIED);
  move.set_to("b:1");
  EXPECT_EQ(ask(Access::kAll, move, "a:1"), grpc::PERMISSION_DENIED);
  v1::SetCombineIntoRequest into;
  into.set_operation(v1::SET_OPERATION_UNION);
  into.add_from("a:2");
  EXPECT_EQ(ask(Access::kRead | Access::kWrite, into, "a:1"), grpc::OK);
  EXPECT_EQ(ask(Access::kWrite, into, "a:1"), grpc::PERMISSION_DENIED);
  EXPECT_EQ(ask(Access::kRead, into, "a:1"), grpc::PERMISSION_DENIED);
  into.add_from("b:1");
  EXPECT_EQ(ask(Access::kRead | Access::kWrite, into, "a:1"), grpc::PERMISSION_DENIED);
}

#ifndef CAIRN_DEBUG
// Root may all, and yet not what the method's row does not name: that is a bug of the method.
TEST_F(Rights, WhatARowDoesNotNameIsRefusedToEverybody) {
  const rpc::Caller root{users.owner("root"), {"grpc", "cairn.v1.KeyValue/Get", Access::kRead}};
  grpc::Status status;
  EXPECT_NE(rpc::find_namespace(*store, root, Access::kRead, "db0", status), nullptr);
  EXPECT_EQ(rpc::find_namespace(*store, root, Access::kDelete, "db0", status), nullptr);
  EXPECT_EQ(status.error_code(), grpc::PERMISSION_DENIED);
}
#endif

TEST_F(Rights, AnS3OperationAsksForEachKeyByTheNameOfItsAction) {
  http::Request request;
  http::Response response;
  s3::Call call{*store, request, response, {}, {}, {}, {}, nullptr, "root", "us-east-1"};
  const auto as = [&](const std::string& statements) -> s3::Call& {
    call.auth.principal = principal_with(statements);
    return call;
  };
  const std::string photos = allow("s3:*", "photos/*"), reads = allow("s3:Get*");
  EXPECT_FALSE(as(photos).may(s3::action::kPutObject, "photos", "a"));
  EXPECT_EQ(as(photos).may(s3::action::kPutObject, "other", "a").code, "AccessDenied");
  EXPECT_EQ(as(reads).may(s3::action::kPutObject, "photos", "a").code, "AccessDenied");
  EXPECT_FALSE(as(reads).may(s3::action::kGetObject, "photos", "a"));
  EXPECT_EQ(as(reads).may(s3::action::kListBucket, "photos").code, "AccessDenied");
  // The source of a copy is read.
  request.headers["x-amz-copy-source"] = "/secret/a";
  NamespacePtr source;
  std::string key;
  std::optional<Version> version;
  ASSERT_TRUE(store->create_bucket("secret").ok());
  as(photos);
  EXPECT_EQ(s3::find_copy_source(call, source, key, version).code, "AccessDenied");
  EXPECT_EQ(source, nullptr);
  as(allow("s3:GetObject", "secret/*"));
  EXPECT_FALSE(s3::find_copy_source(call, source, key, version));
}

TEST(Credentials, AreReadFromAHeader) {
  Users users("root", "password", true);
  EXPECT_EQ(authenticate(users, "Bearer password")->name(), "default");
  EXPECT_EQ(authenticate(users, "basic cm9vdDpwYXNzd29yZA==")->name(), "root");
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer nope", "Basic cm9vdA==", "Basic ?",
                          "Digest cm9vdDpwYXNzd29yZA=="}) {
    EXPECT_EQ(authenticate(users, bad), nullptr) << bad;
  }
}

}  // namespace
}  // namespace cairn
