// Preloaded into the server with --io=threads: what it writes to the log becomes durable only while
// the file that CAIRN_HOLD names is not there.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static void wait_if_held(int fd) {
  char link[64], name[512];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, name, sizeof(name) - 1);
  if (n < 0) return;
  name[n] = 0;
  const char* hold = getenv("CAIRN_HOLD");
  while (strstr(name, "/segment-") != NULL && access(hold, F_OK) == 0) usleep(2000);
}

ssize_t pwritev2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  static ssize_t (*real)(int, const struct iovec*, int, off_t, int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "pwritev2");
  if (flags != 0) wait_if_held(fd);
  return real(fd, parts, count, offset, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  return pwritev2(fd, parts, count, offset, flags);
}
int fdatasync(int fd) {
  static int (*real)(int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "fdatasync");
  wait_if_held(fd);
  return real(fd);
}
