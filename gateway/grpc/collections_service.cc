#include "gateway/grpc/collections_service.h"

namespace cairn::rpc {

template <class Request, class Answer>
Unary* CollectionsService::run(Context* c, const Caller& by, const Request* q, Answer* a) {
  bool by_itself = wait_ms_of(*q) != 0;
  if constexpr (kTakesTurns<Request>) by_itself = !has_condition(*q);
  if constexpr (requires { q->condition(); }) {
    if (by_itself) return new WaitingCall<Request, Answer>(shared_, by, c, *q, a, tails_);
  }
  auto step = std::make_unique<CollectionStep>(store_);
  grpc::Status status = step->ask<Answer>(shared_, *q);
  if (status.ok()) status = step->enter(shared_, by);
  if (!status.ok()) return finish(c, store_, status);
  auto work = [](const Shared& shared, Context& c, std::unique_ptr<CollectionStep> step,
                 const Request& q, Answer& a) -> awaitable<grpc::Status> {
    co_return co_await perform(shared, c, *step, wishes_of(q), &a);
  };
  return spawn(c, shared_, *a, work(shared_, *c, std::move(step), *q, *a));
}

template <class Request, class Answer>
void CollectionsService::range(const char* path) {
  server_stream<Request, Answer>(path, Access::kRead,
                                 [this](Context* c, const Caller& by, const Request* q) {
                                   return new RangeCall<Request, Answer>(shared_, by, c, *q);
                                 });
}

template <class Request, class Answer>
void CollectionsService::tail(const char* path) {
  server_stream<Request, Answer>(path, Access::kRead,
                                 [this](Context* c, const Caller& by, const Request* q) {
                                   return new TailCall<Request, Answer>(shared_, by, c, *q, tails_);
                                 });
}

// The access is that of the command.
CollectionsService::CollectionsService(const Shared& shared) : Service(shared) {
  using enum Access;
  using namespace v1;
  one<HashSetRequest, HashSetResponse>("/cairn.v1.Hashes/Set", kWrite);
  one<HashGetRequest, HashGetResponse>("/cairn.v1.Hashes/Get", kRead);
  one<HashDeleteRequest, HashDeleteResponse>("/cairn.v1.Hashes/Delete", kDelete);
  one<HashIncrementRequest, HashIncrementResponse>("/cairn.v1.Hashes/Increment", kRead | kWrite);
  one<HashCountRequest, HashCountResponse>("/cairn.v1.Hashes/Count", kRead);
  range<HashScanRequest, HashScanResponse>("/cairn.v1.Hashes/Scan");
  one<HashExpireRequest, HashExpireResponse>("/cairn.v1.Hashes/Expire", kRead | kWrite);
  one<HashGetExpiryRequest, HashGetExpiryResponse>("/cairn.v1.Hashes/GetExpiry", kRead);

  one<ListPushRequest, ListPushResponse>("/cairn.v1.Lists/Push", kInsert);
  one<ListPopRequest, ListPopResponse>("/cairn.v1.Lists/Pop", kRead | kDelete);
  one<ListCountRequest, ListCountResponse>("/cairn.v1.Lists/Count", kRead);
  range<ListRangeRequest, ListRangeResponse>("/cairn.v1.Lists/Range");
  one<ListSetRequest, ListSetResponse>("/cairn.v1.Lists/Set", kWrite);
  one<ListInsertRequest, ListInsertResponse>("/cairn.v1.Lists/Insert", kInsert);
  one<ListRemoveRequest, ListRemoveResponse>("/cairn.v1.Lists/Remove", kDelete);
  one<ListTrimRequest, ListTrimResponse>("/cairn.v1.Lists/Trim", kDelete);
  one<ListMoveRequest, ListMoveResponse>("/cairn.v1.Lists/Move", kRead | kDelete | kInsert);

  one<SetAddRequest, SetAddResponse>("/cairn.v1.Sets/Add", kInsert);
  one<SetRemoveRequest, SetRemoveResponse>("/cairn.v1.Sets/Remove", kDelete);
  one<SetContainsRequest, SetContainsResponse>("/cairn.v1.Sets/Contains", kRead);
  one<SetCountRequest, SetCountResponse>("/cairn.v1.Sets/Count", kRead);
  range<SetMembersRequest, SetMembersResponse>("/cairn.v1.Sets/Members");
  one<SetPopRequest, SetPopResponse>("/cairn.v1.Sets/Pop", kRead | kDelete);
  one<SetRandomRequest, SetRandomResponse>("/cairn.v1.Sets/Random", kRead);
  one<SetMoveRequest, SetMoveResponse>("/cairn.v1.Sets/Move", kRead | kDelete | kInsert);
  range<SetCombineRequest, SetMembersResponse>("/cairn.v1.Sets/Combine");
  one<SetCombineIntoRequest, SetCombineIntoResponse>("/cairn.v1.Sets/CombineInto", kRead | kWrite);

  one<SortedSetAddRequest, SortedSetAddResponse>("/cairn.v1.SortedSets/Add", kWrite);
  one<SortedSetRemoveRequest, SortedSetRemoveResponse>("/cairn.v1.SortedSets/Remove", kDelete);
  one<SortedSetIncrementRequest, SortedSetIncrementResponse>("/cairn.v1.SortedSets/Increment",
                                                             kRead | kWrite);
  one<SortedSetScoreRequest, SortedSetScoreResponse>("/cairn.v1.SortedSets/Score", kRead);
  one<SortedSetRankRequest, SortedSetRankResponse>("/cairn.v1.SortedSets/Rank", kRead);
  one<SortedSetCountRequest, SortedSetCountResponse>("/cairn.v1.SortedSets/Count", kRead);
  range<SortedSetRangeRequest, SortedSetRangeResponse>("/cairn.v1.SortedSets/Range");
  one<SortedSetPopRequest, SortedSetPopResponse>("/cairn.v1.SortedSets/Pop", kRead | kDelete);
  one<SortedSetRemoveRangeRequest, SortedSetRemoveRangeResponse>("/cairn.v1.SortedSets/RemoveRange",
                                                                 kDelete);
  one<SortedSetRangeIntoRequest, SortedSetRangeIntoResponse>("/cairn.v1.SortedSets/RangeInto",
                                                             kRead | kWrite);
  range<SortedSetCombineRequest, SortedSetRangeResponse>("/cairn.v1.SortedSets/Combine");
  one<SortedSetCombineIntoRequest, SortedSetCombineIntoResponse>("/cairn.v1.SortedSets/CombineInto",
                                                                 kRead | kWrite);

  one<StreamAppendRequest, StreamAppendResponse>("/cairn.v1.Streams/Append", kWrite);
  one<StreamDeleteRequest, StreamDeleteResponse>("/cairn.v1.Streams/Delete", kDelete);
  one<StreamCountRequest, StreamCountResponse>("/cairn.v1.Streams/Count", kRead);
  range<StreamRangeRequest, StreamRangeResponse>("/cairn.v1.Streams/Range");
  tail<StreamReadRequest, StreamReadResponse>("/cairn.v1.Streams/Read");
  one<StreamCreateGroupRequest, StreamCreateGroupResponse>("/cairn.v1.Streams/CreateGroup",
                                                           kInsert);
  one<StreamDeleteGroupRequest, StreamDeleteGroupResponse>("/cairn.v1.Streams/DeleteGroup",
                                                           kDelete);
  tail<StreamReadGroupRequest, StreamReadGroupResponse>("/cairn.v1.Streams/ReadGroup");
  one<StreamAcknowledgeRequest, StreamAcknowledgeResponse>("/cairn.v1.Streams/Acknowledge", kWrite);
  one<StreamClaimRequest, StreamClaimResponse>("/cairn.v1.Streams/Claim", kRead | kDelete);
}

}  // namespace cairn::rpc
