// hiredis, synchronous and asynchronous: a pipeline of pushes with a kill in the middle of it. What
// was acknowledged is in the list, and the list is a beginning of what was sent, in order.
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kInFlight = 10, kBeforeKill = 500 };

static int port;
static const char* password;

#define CHECK(is_so)                             \
  do {                                           \
    if (!(is_so)) {                              \
      printf("line %d: %s\n", __LINE__, #is_so); \
      exit(1);                                   \
    }                                            \
  } while (0)

static void ask(const char* what) {
  char answer[64];
  printf("ask %s\n", what);
  fflush(stdout);
  CHECK(fgets(answer, sizeof answer, stdin) != NULL && strncmp(answer, what, strlen(what)) == 0);
}

static redisContext* connect_to_server(void) {
  redisContext* c = redisConnect("127.0.0.1", port);
  CHECK(c != NULL && c->err == 0);
  redisReply* r = redisCommand(c, "AUTH %s", password);
  CHECK(r->type == REDIS_REPLY_STATUS);
  freeReplyObject(r);
  return c;
}

// The list holds 0, 1, 2 ..., and at least as many as were acknowledged.
static void check_list(redisContext* c, const char* list, long acknowledged, long sent) {
  redisReply* r = redisCommand(c, "LRANGE %s 0 -1", list);
  CHECK(r->type == REDIS_REPLY_ARRAY && (long)r->elements >= acknowledged &&
        (long)r->elements <= sent);
  for (size_t i = 0; i < r->elements; i++) CHECK((size_t)atol(r->element[i]->str) == i);
  freeReplyObject(r);
}

static void types(redisContext* c) {
  redisReply* r = redisCommand(c, "SET %b %b", "k\0\r\n", (size_t)4, "v\0\xff", (size_t)3);
  CHECK(r->type == REDIS_REPLY_STATUS && strcmp(r->str, "OK") == 0);
  freeReplyObject(r);
  r = redisCommand(c, "GET %b", "k\0\r\n", (size_t)4);
  CHECK(r->type == REDIS_REPLY_STRING && r->len == 3 && memcmp(r->str, "v\0\xff", 3) == 0);
  freeReplyObject(r);
  r = redisCommand(c, "GET nothing");
  CHECK(r->type == REDIS_REPLY_NIL);
  freeReplyObject(r);
  r = redisCommand(c, "INCR %b", "k\0\r\n", (size_t)4);
  CHECK(r->type == REDIS_REPLY_ERROR);
  freeReplyObject(r);
  r = redisCommand(c, "EVAL %s 0", "return {1, {2, 'three'}, false}");
  CHECK(r->elements == 3 && r->element[1]->elements == 2 && r->element[2]->type == REDIS_REPLY_NIL);
  freeReplyObject(r);
}

static void pipeline(redisContext* c) {
  long acknowledged = 0, sent = 0;
  void* reply;
  do {
    for (int i = 0; i < kInFlight; i++) redisAppendCommand(c, "RPUSH sync %ld", sent++);
    int written = 0;
    while (!written) CHECK(redisBufferWrite(c, &written) == REDIS_OK);
    if (acknowledged == kBeforeKill) ask("kill");
    for (long before = acknowledged;
         acknowledged < before + kInFlight && redisGetReply(c, &reply) == REDIS_OK;) {
      CHECK(((redisReply*)reply)->integer == ++acknowledged);
      freeReplyObject(reply);
    }
  } while (acknowledged == sent);
  CHECK(acknowledged >= kBeforeKill);
  ask("start");
  redisContext* again = connect_to_server();
  check_list(again, "sync", acknowledged, sent);
  redisFree(again);
}

// An event loop of one connection.
static struct {
  short wanted;
  int over;
  long sent, acknowledged, refused;
} loop;

static void add_read(void* unused) { (void)unused, loop.wanted |= POLLIN; }
static void del_read(void* unused) { (void)unused, loop.wanted &= ~POLLIN; }
static void add_write(void* unused) { (void)unused, loop.wanted |= POLLOUT; }
static void del_write(void* unused) { (void)unused, loop.wanted &= ~POLLOUT; }
static void cleanup(void* unused) { (void)unused, loop.over = 1; }

static void pushed(redisAsyncContext* c, void* reply, void* unused) {
  (void)unused;
  if (reply == NULL) {
    loop.refused++;
    return;
  }
  CHECK(loop.refused == 0 && ((redisReply*)reply)->integer == ++loop.acknowledged);
  if (loop.acknowledged == kBeforeKill) ask("kill");
  redisAsyncCommand(c, pushed, NULL, "RPUSH async %ld", loop.sent++);
}

static void asynchronous(void) {
  redisAsyncContext* c = redisAsyncConnect("127.0.0.1", port);
  CHECK(c != NULL && c->err == 0);
  c->ev.addRead = add_read, c->ev.delRead = del_read;
  c->ev.addWrite = add_write, c->ev.delWrite = del_write, c->ev.cleanup = cleanup;
  redisAsyncCommand(c, NULL, NULL, "AUTH %s", password);
  while (loop.sent < kInFlight) redisAsyncCommand(c, pushed, NULL, "RPUSH async %ld", loop.sent++);
  while (!loop.over) {
    struct pollfd p = {.fd = c->c.fd, .events = loop.wanted};
    CHECK(poll(&p, 1, -1) == 1);
    if (p.revents & (POLLIN | POLLHUP | POLLERR)) redisAsyncHandleRead(c);
    if (!loop.over && (p.revents & POLLOUT)) redisAsyncHandleWrite(c);
  }
  CHECK(loop.acknowledged >= kBeforeKill && loop.acknowledged + loop.refused == loop.sent);
  ask("start");
  redisContext* again = connect_to_server();
  check_list(again, "async", loop.acknowledged, loop.sent);
  redisFree(again);
}

int main(void) {
  port = atoi(getenv("REDIS_PORT"));
  password = getenv("REDIS_PASSWORD");
  redisContext* c = connect_to_server();
  types(c);
  pipeline(c);
  redisFree(c);
  asynchronous();
  puts("done");
  return 0;
}
