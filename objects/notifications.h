// What S3 calls the changes of a bucket's objects, who is to be told of them, and how it is said:
// the one place where a record of the log becomes an event of S3, whatever brings it to its reader.
//
// A record says what came of a change, and by which kind of request: its Cause. It does not say who
// asked, from which address, or under which request id; these fields of an event are empty. The
// sequencer is the record's LSN in 16 hexadecimal digits: one order for all keys, not only for
// those of one key, and a position to go on from.
//
// Collections are no objects: what happens to them in a bucket is none of these events, but that a
// key goes, of which the log does not say what it held.
//
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/change_feed.h"
#include "core/store/properties.h"

namespace cairn::objects {

// "s3:ObjectCreated:Put" and the like; empty: it is none of S3's.
std::string_view event_name(const FeedEvent& event);

// Whether an event type that a rule names is one of S3's, and whether Cairn has events of it.
enum class EventType : uint8_t { kNone, kKnown, kHad };
EventType event_type(std::string_view text);

bool is_wanted(const NotificationRule& rule, std::string_view event, std::string_view key);
// The first rule that sends the event to this target; null: none does.
const NotificationRule* rule_for(const Properties& properties, std::string_view target,
                                 std::string_view event, std::string_view key);
// Whether two of them want one event of one key, which S3 does not allow.
bool overlap(const std::vector<NotificationRule>& rules);

// The element of "Records" for an event that has a name and a namespace. `rule`: the id of what
// wanted it; `owner`: of all buckets. S3's own have the name without "s3:", MinIO's with it.
enum class Naming : uint8_t { kOfS3, kOfMinio };
std::string record_json(const FeedEvent& event, std::string_view rule, std::string_view owner,
                        std::string_view region, Naming naming = Naming::kOfS3);
// The message about some of them, as S3 sends it; about one alone with what MinIO adds to it.
std::string message_json(const std::vector<std::string>& records, const FeedEvent* only);

std::string sequencer_of(Lsn lsn);
std::optional<Lsn> lsn_of_sequencer(std::string_view text);

}  // namespace cairn::objects
