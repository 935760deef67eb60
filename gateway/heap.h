// What the process asks of its allocator, mimalloc, beyond malloc and free. Under a sanitizer, whose
// own allocator is used, all of this does nothing.
#pragma once

namespace cairn {

// Large pages are for loading alone. While an index is built from the disk, the faults of its first
// touches were a third of all processor time, and two threads waited for one another in them (2
// million records: 1.7 s with pages of 4 KiB, 1.0 s with 2 MiB). Afterwards they gain a SET or GET
// nothing, round the resident size up, and a fault takes long.

// Before anything is loaded: puts the heap where large pages may back it. Call once, at the start.
void begin_loading();
// From now on memory comes in small pages; what is there stays. Any thread.
void end_loading();
// Has the calling thread give back to the system what nobody uses, and all threads from now on at
// once.
void release_memory();

}  // namespace cairn
