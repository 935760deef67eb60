// CLIENT TRACKING with BCAST tells the names of keys of all databases and buckets, whoever asks: as
// messages do, it takes the right to the command by its name.
#pragma once

namespace cairn::kv {

class Engine;
class Session;
struct Request;

// Whether the session may have it, or go on with it; `request` is CLIENT TRACKING. The session's
// thread.
bool may_hear_of_all(const Engine& engine, const Session& session, const Request& request);

}  // namespace cairn::kv
