// cairn.v1.Admin: about the server, and who may use it (admin_users.cc). Threads: gRPC's, any
// number at once.
#pragma once

#include "cairn/v1/admin.pb.h"
#include "core/store/user_table.h"
#include "gateway/grpc/method.h"
#include "kv/engine/engine.h"

namespace cairn::rpc {

class AdminService final : public Service {
 public:
  AdminService(const Shared& shared, kv::Server& server, kv::Engine& engine);

 private:
  Unary* info(Context* c, const Caller& by, const v1::InfoRequest* q, v1::InfoResponse* a);
  Unary* stats(Context* c, const Caller& by, const v1::StatsRequest* q, v1::StatsResponse* a);
  Unary* get_quota(Context* c, const Caller& by, const v1::GetQuotaRequest* q,
                   v1::GetQuotaResponse* a);
  Unary* set_quota(Context* c, const Caller& by, const v1::SetQuotaRequest* q,
                   v1::SetQuotaResponse* a);

  void add_user_methods();
  // Makes a change of the users, and finishes when it is durable; `told` fills the answer before.
  Unary* change(Context* c, absl::FunctionRef<Status(Draft&)> edit,
                absl::FunctionRef<void(const UserTable&)> told);
  Unary* create_user(Context* c, const Caller& by, const v1::CreateUserRequest* q,
                     v1::CreateUserResponse* a);
  Unary* get_user(Context* c, const Caller& by, const v1::GetUserRequest* q,
                  v1::GetUserResponse* a);
  Unary* list_users(Context* c, const Caller& by, const v1::ListUsersRequest* q,
                    v1::ListUsersResponse* a);
  Unary* delete_user(Context* c, const Caller& by, const v1::DeleteUserRequest* q,
                     v1::DeleteUserResponse* a);
  Unary* set_user_password(Context* c, const Caller& by, const v1::SetUserPasswordRequest* q,
                           v1::SetUserPasswordResponse* a);
  Unary* create_group(Context* c, const Caller& by, const v1::CreateGroupRequest* q,
                      v1::CreateGroupResponse* a);
  Unary* get_group(Context* c, const Caller& by, const v1::GetGroupRequest* q,
                   v1::GetGroupResponse* a);
  Unary* list_groups(Context* c, const Caller& by, const v1::ListGroupsRequest* q,
                     v1::ListGroupsResponse* a);
  Unary* delete_group(Context* c, const Caller& by, const v1::DeleteGroupRequest* q,
                      v1::DeleteGroupResponse* a);
  Unary* add_user_to_group(Context* c, const Caller& by, const v1::AddUserToGroupRequest* q,
                           v1::AddUserToGroupResponse* a);
  Unary* remove_user_from_group(Context* c, const Caller& by,
                                const v1::RemoveUserFromGroupRequest* q,
                                v1::RemoveUserFromGroupResponse* a);
  Unary* put_policy(Context* c, const Caller& by, const v1::PutPolicyRequest* q,
                    v1::PutPolicyResponse* a);
  Unary* get_policy(Context* c, const Caller& by, const v1::GetPolicyRequest* q,
                    v1::GetPolicyResponse* a);
  Unary* list_policies(Context* c, const Caller& by, const v1::ListPoliciesRequest* q,
                       v1::ListPoliciesResponse* a);
  Unary* delete_policy(Context* c, const Caller& by, const v1::DeletePolicyRequest* q,
                       v1::DeletePolicyResponse* a);
  Unary* attach_policy(Context* c, const Caller& by, const v1::AttachPolicyRequest* q,
                       v1::AttachPolicyResponse* a);
  Unary* detach_policy(Context* c, const Caller& by, const v1::DetachPolicyRequest* q,
                       v1::DetachPolicyResponse* a);
  Unary* create_access_key(Context* c, const Caller& by, const v1::CreateAccessKeyRequest* q,
                           v1::CreateAccessKeyResponse* a);
  Unary* list_access_keys(Context* c, const Caller& by, const v1::ListAccessKeysRequest* q,
                          v1::ListAccessKeysResponse* a);
  Unary* update_access_key(Context* c, const Caller& by, const v1::UpdateAccessKeyRequest* q,
                           v1::UpdateAccessKeyResponse* a);
  Unary* rotate_access_key(Context* c, const Caller& by, const v1::RotateAccessKeyRequest* q,
                           v1::RotateAccessKeyResponse* a);
  Unary* delete_access_key(Context* c, const Caller& by, const v1::DeleteAccessKeyRequest* q,
                           v1::DeleteAccessKeyResponse* a);

  kv::Server& server_;
  kv::Engine& engine_;
};

}  // namespace cairn::rpc
