// The requests about collections in the words of commands, and what commands answered as messages.
// What the commands do is theirs; which of them stands for a request is seen here.
//
// Threads: any.
#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "cairn/v1/collections.pb.h"
#include "kv/engine/errand.h"

namespace cairn::rpc {

inline constexpr uint32_t kPerMessageUsual = 100;  // entries, where a request does not say how many
inline constexpr uint32_t kPendingUsual = 100;     // of a consumer, likewise
// One entry in a message, its names and values and kItemRoom for each field: it fits behind what a
// message of a long answer has already.
inline constexpr uint64_t kEntryBytesMax = 4'000'000;

// Adds the words of the command; those that the request has stay in it. An error says what is wrong
// with the form of the request; what the command then says is wrong is error_of_command().
grpc::Status say(const v1::HashSetRequest& q, kv::Args& to);
grpc::Status say(const v1::HashGetRequest& q, kv::Args& to);
grpc::Status say(const v1::HashDeleteRequest& q, kv::Args& to);
grpc::Status say(const v1::HashIncrementRequest& q, kv::Args& to);
grpc::Status say(const v1::HashCountRequest& q, kv::Args& to);
grpc::Status say(const v1::HashScanRequest& q, kv::Args& to);
grpc::Status say(const v1::HashExpireRequest& q, kv::Args& to);
grpc::Status say(const v1::HashGetExpiryRequest& q, kv::Args& to);
grpc::Status say(const v1::ListPushRequest& q, kv::Args& to);
grpc::Status say(const v1::ListPopRequest& q, kv::Args& to);
grpc::Status say(const v1::ListRangeRequest& q, kv::Args& to);
grpc::Status say(const v1::ListCountRequest& q, kv::Args& to);
grpc::Status say(const v1::ListSetRequest& q, kv::Args& to);
grpc::Status say(const v1::ListInsertRequest& q, kv::Args& to);
grpc::Status say(const v1::ListRemoveRequest& q, kv::Args& to);
grpc::Status say(const v1::ListTrimRequest& q, kv::Args& to);
grpc::Status say(const v1::ListMoveRequest& q, kv::Args& to);
grpc::Status say(const v1::SetAddRequest& q, kv::Args& to);
grpc::Status say(const v1::SetRemoveRequest& q, kv::Args& to);
grpc::Status say(const v1::SetContainsRequest& q, kv::Args& to);
grpc::Status say(const v1::SetCountRequest& q, kv::Args& to);
grpc::Status say(const v1::SetMembersRequest& q, kv::Args& to);
grpc::Status say(const v1::SetPopRequest& q, kv::Args& to);
grpc::Status say(const v1::SetRandomRequest& q, kv::Args& to);
grpc::Status say(const v1::SetMoveRequest& q, kv::Args& to);
grpc::Status say(const v1::SetCombineRequest& q, kv::Args& to);
grpc::Status say(const v1::SetCombineIntoRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetAddRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetRemoveRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetIncrementRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetScoreRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetRankRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetCountRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetRangeRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetPopRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetRemoveRangeRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetRangeIntoRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetCombineRequest& q, kv::Args& to);
grpc::Status say(const v1::SortedSetCombineIntoRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamAppendRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamDeleteRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamCountRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamRangeRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamCreateGroupRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamDeleteGroupRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamAcknowledgeRequest& q, kv::Args& to);
grpc::Status say(const v1::StreamClaimRequest& q, kv::Args& to);
// Those that wait.
grpc::Status check(const v1::StreamReadRequest& q);
// Until there are entries behind `after`; then they are read, which waits for nothing.
void say_wait(const v1::StreamReadRequest& q, const std::string& after, kv::Args& to);
void say_next(const v1::StreamReadRequest& q, const std::string& after, kv::Args& to);
grpc::Status check(const v1::StreamReadGroupRequest& q);
// What is pending with the consumer behind `after`, one entry; and what is new to its group.
void say_pending(const v1::StreamReadGroupRequest& q, const std::string& after, kv::Args& to);
void say_next(const v1::StreamReadGroupRequest& q, kv::Args& to);

// The answer of a command that has no error; values.broken() if it was another than this.
void hear(const v1::HashSetRequest& q, kv::Values& values, v1::HashSetResponse& a);
void hear(const v1::HashGetRequest& q, kv::Values& values, v1::HashGetResponse& a);
void hear(const v1::HashDeleteRequest& q, kv::Values& values, v1::HashDeleteResponse& a);
void hear(const v1::HashIncrementRequest& q, kv::Values& values, v1::HashIncrementResponse& a);
void hear(const v1::HashExpireRequest& q, kv::Values& values, v1::HashExpireResponse& a);
void hear(const v1::HashGetExpiryRequest& q, kv::Values& values, v1::HashGetExpiryResponse& a);
void hear(const v1::ListPushRequest& q, kv::Values& values, v1::ListPushResponse& a);
void hear(const v1::ListPopRequest& q, kv::Values& values, v1::ListPopResponse& a);
void hear(const v1::ListSetRequest& q, kv::Values& values, v1::ListSetResponse& a);
void hear(const v1::ListInsertRequest& q, kv::Values& values, v1::ListInsertResponse& a);
void hear(const v1::ListRemoveRequest& q, kv::Values& values, v1::ListRemoveResponse& a);
void hear(const v1::ListTrimRequest& q, kv::Values& values, v1::ListTrimResponse& a);
void hear(const v1::ListMoveRequest& q, kv::Values& values, v1::ListMoveResponse& a);
void hear(const v1::SetAddRequest& q, kv::Values& values, v1::SetAddResponse& a);
void hear(const v1::SetRemoveRequest& q, kv::Values& values, v1::SetRemoveResponse& a);
void hear(const v1::SetContainsRequest& q, kv::Values& values, v1::SetContainsResponse& a);
void hear(const v1::SetPopRequest& q, kv::Values& values, v1::SetPopResponse& a);
void hear(const v1::SetRandomRequest& q, kv::Values& values, v1::SetRandomResponse& a);
void hear(const v1::SetMoveRequest& q, kv::Values& values, v1::SetMoveResponse& a);
void hear(const v1::SortedSetAddRequest& q, kv::Values& values, v1::SortedSetAddResponse& a);
void hear(const v1::SortedSetRemoveRequest& q, kv::Values& values, v1::SortedSetRemoveResponse& a);
void hear(const v1::SortedSetIncrementRequest& q, kv::Values& values,
          v1::SortedSetIncrementResponse& a);
void hear(const v1::SortedSetScoreRequest& q, kv::Values& values, v1::SortedSetScoreResponse& a);
void hear(const v1::SortedSetRankRequest& q, kv::Values& values, v1::SortedSetRankResponse& a);
void hear(const v1::SortedSetPopRequest& q, kv::Values& values, v1::SortedSetPopResponse& a);
void hear(const v1::SortedSetRemoveRangeRequest& q, kv::Values& values,
          v1::SortedSetRemoveRangeResponse& a);
void hear(const v1::StreamAppendRequest& q, kv::Values& values, v1::StreamAppendResponse& a);
void hear(const v1::StreamDeleteRequest& q, kv::Values& values, v1::StreamDeleteResponse& a);
void hear(const v1::StreamCreateGroupRequest& q, kv::Values& values,
          v1::StreamCreateGroupResponse& a);
void hear(const v1::StreamDeleteGroupRequest& q, kv::Values& values,
          v1::StreamDeleteGroupResponse& a);
void hear(const v1::StreamAcknowledgeRequest& q, kv::Values& values,
          v1::StreamAcknowledgeResponse& a);
void hear(const v1::StreamClaimRequest& q, kv::Values& values, v1::StreamClaimResponse& a);
// Those that answer a count alone.
template <class Request, class Answer>
requires requires(Answer& a) { a.set_count(0); }
void hear(const Request&, kv::Values& values, Answer& a) { a.set_count(values.number()); }

// The next item of a long answer, behind the number of them; returns its bytes, about.
size_t take_item(kv::Values& values, v1::HashScanResponse& a);
size_t take_item(kv::Values& values, v1::ListRangeResponse& a);
size_t take_item(kv::Values& values, v1::SetMembersResponse& a);
size_t take_item(kv::Values& values, v1::SortedSetRangeResponse& a);
size_t take_item(kv::Values& values, v1::StreamEntry& entry);
template <class Answer>
requires requires(Answer& a) { a.add_entries(); }
size_t take_item(kv::Values& values, Answer& a) { return take_item(values, *a.add_entries()); }

// What a command answered as its error, in Redis's words, as a status.
grpc::Status error_of_command(std::string_view text, const v1::Key& key);

}  // namespace cairn::rpc
