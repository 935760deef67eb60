"""Scripts and functions: the same script here and on a redis-server beside it, in RESP2 and RESP3, must give the
same bytes; what holds a script in; and what redis-py does with scripts."""
import hashlib
import os
import random
import re
import threading
import time
import unittest

import redis

from harness import PASSWORD, Case, command, raw, wait_until
from test_dump import crc64
from test_resp import BesidePeer
from test_wire import Answers, parsed

SECONDS = float(os.environ.get("CAIRN_WIRE_SECONDS", "8"))

# It is ended, and nothing of it is done.
GROWS = "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end"

SETUP = [["FLUSHALL"], ["SET", "str", "x"], ["SET", "n", "7"], ["HSET", "h", "f", "v", "g", "2"], ["RPUSH", "l", "a", "b", "c"],
         ["SADD", "s", "m"], ["ZADD", "z", "1.5", "m", "2", "o"], ["SETBIT", "bits", "7", "1"]]

# Each a whole script. redis-server 7.0.15 ends itself at error({}) and error(): they are not here.
SCRIPTS = r"""
redis.call('sadd', 'many', 'b', 'a', 'z', 'aa') return redis.call('sort', 'many', 'by', '_')
redis.call('sadd', 'many', 'b', 'a', 'z', 'aa') return redis.call('sort_ro', 'many', 'by', '_', 'desc', 'limit', 1, 2)
redis.call('sadd', 'many', 'b', 'a', 'z', 'aa') return redis.call('sort', 'many', 'by', '_', 'get', '#', 'get', 'str')
local t = {1, 2} table.insert(t, 2, 'x') table.insert(t, 9, 'y') table.insert(t, -1, 'z') return {t[1], t[2], t[3], t[4], t[-1]}
return {xpcall(function() error('x') end, function(m) return 'handled ' .. tostring(m) end)}
return {xpcall(function() error('x') end, function(m) error('y') end)}
return {xpcall(function() error('x') end, nil)}
return {xpcall(function() return 1, 2 end, function() end)}
return redis.call()
return redis.call({})
return redis.call(nil)
return redis.call('nope')
return redis.call('get')
return redis.call('multi')
return redis.call('auth', 'x')
return redis.call('eval', 'return 1', 0)
return redis.call('subscribe', 'c')
return redis.call('lpush', 'str', 'x')
return redis.pcall('lpush', 'str', 'x')
return redis.call('object', 'foo')
return redis.call('object')
return redis.call('get', 'str', 'a')
return redis.call('get', 1.5)
return redis.call('set', 'num', 1e15)
return redis.call('set', 'num', 0.1) and redis.call('get', 'num')
local a, b = pcall(redis.call, 'lpush', 'str', 'x') return {tostring(a), type(b), tostring(b)}
local a, b = pcall(redis.call, 'lpush', 'str', 'x') error(b)
local a, b = pcall(redis.call) return {tostring(a), type(b), tostring(b)}
return x
x = 1
redis.call = 1
rawset(_G, 'a', 1)
setmetatable(_G, {})
getmetatable(_G).__index = nil
getmetatable('').__index = nil
KEYS = {}
KEYS[1] = 3 return KEYS
string.x = 1
table.insert(redis, 1)
error('hi')
error('x', 0)
error('x', 2)
error({err='MY thing'})
error({err='MY thing', x=1})
local function f() error('deep') end f()
local f = loadstring('error(1)', '@foo') f()
local f = loadstring('return redis.call()', '@foo') return f()
return {err='a b'}
return {err='ab'}
return {ok='x', err='y'}
return redis.error_reply('x')
return redis.error_reply('-X y')
return redis.error_reply('X')
return redis.error_reply('X y')
return redis.error_reply('ERR X y')
return redis.error_reply('-X')
return redis.error_reply('-')
return redis.error_reply('')
return redis.error_reply(' X')
return redis.error_reply('--X y')
return redis.error_reply('X y\\r\\nz')
return redis.error_reply('X\\r\\n')
return redis.error_reply('-X y\\r\\n\\n')
return {err='X y'}
return {err='X'}
return {err=''}
local e = redis.error_reply('X y') return e.err
return redis.error_reply()
return redis.error_reply(1)
return redis.status_reply(1)
return redis.status_reply('A b')
return {redis.status_reply('A b'), {1, {2}}}
return )
if
return 1 end
return 'unfinished
return 1.9
return -1.9
return 1/0
return 0/0
return 2^53
return -2^63
return {1, 2, nil, 4}
return {1, true, false, nil}
return {true, {false}}
return true
return false
return nil
return
return print
return redis.call
return {double=1.5}
return {double=3}
return {double=0.1}
return {double=1/0}
return {double='x'}
return {map={a=1}}
return {map=1}
return {map={}}
return {set={a=true}}
return {set={}}
return {big_number='123'}
return {big_number='12\r\n3'}
return {verbatim_string={format='txt', string='x'}}
return {verbatim_string={format='toolong', string='x'}}
return {verbatim_string={format='txt'}}
return {ok='a\r\nb'}
return {err='a\r\nb'}
return setmetatable({}, {__index={ok='fine'}})
redis.setresp(3) return true
redis.setresp(3) return false
redis.setresp(3) return nil
redis.setresp(3) return redis.call('hgetall', 'absent')
redis.setresp(3) return redis.call('zrange', 'z', 0, -1, 'withscores')
redis.setresp(3) return redis.call('zscore', 'z', 'm')
redis.setresp(3) return redis.call('zscore', 'z', 'q')
redis.setresp(3) return redis.call('smembers', 's')
redis.setresp(3) return redis.call('get', 'absent')
redis.setresp(3) return type(redis.call('get', 'absent'))
redis.setresp(3) return {map={[1]=redis.call('smembers', 's')}}
redis.setresp(3) local r = redis.call('zscore', 'z', 'm') return {type(r), tostring(r.double)}
redis.setresp(3) local a = redis.call('smembers', 's') return tostring(a.set.m)
redis.setresp(3) redis.setresp(2) return redis.call('zscore', 'z', 'm')
return type(redis.call('get', 'absent'))
return redis.call('hmget', 'h', 'f', 'absent')
return redis.call('zrange', 'z', 0, -1, 'withscores')
return redis.call('zscore', 'z', 'm')
return redis.call('lrange', 'l', 0, -1)
return redis.call('incrbyfloat', 'n', '0.5')
redis.call('select', 3) redis.call('set', 'there', 1) return redis.call('dbsize')
return redis.call('get', 'there')
return redis.call('publish', 'c', 'm')
return redis.call('exists', 'str', 'n', 'absent')
return redis.call('expire', 'str', 100)
return redis.setresp(4)
return redis.setresp()
return redis.log()
return redis.log(9, 'x')
return redis.log(1, {})
return redis.log('x', 'y')
return redis.sha1hex()
return redis.sha1hex('a')
return redis.set_repl()
return redis.set_repl(9)
return redis.set_repl(redis.REPL_ALL)
return redis.replicate_commands()
return redis.breakpoint()
return redis.debug('x')
return redis.acl_check_cmd()
return redis.acl_check_cmd('nope')
return redis.acl_check_cmd('get', 'a')
return tostring(redis.acl_check_cmd('get', 'a'))
return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING, redis.REPL_NONE, redis.REPL_ALL}
return redis.nope
redis.nope()
local a = nil; a.b = 1
return #KEYS
return _VERSION
math.randomseed(0) return {math.random(1000), math.random(5), tostring(math.random()), math.random(3, 9)}
math.randomseed(5) return math.random(1000)
return unpack({}, 0, 2147483647)
return loadstring('return 1')()
return coroutine.wrap(function() return redis.call('get', 'str') end)()
local c = coroutine.create(function(a) local b = coroutine.yield(a + 1) error('x') end) local r = {} for i = 1, 3 do local ok, v = coroutine.resume(c, i) r[#r + 1] = tostring(ok) r[#r + 1] = tostring(v) end return r
return table.concat({1, 2, {}})
return string.rep()
return ('x'):rep(3)
return tostring(1e15)..tostring(2^53)..tostring(0.1)
local t = setmetatable({}, {__index=function() error('idx') end}) return t.x
return select('#', 1, nil, 3)
return {tostring(next({})), type(next), tostring(rawget(redis, 'call') == redis.call), rawequal(1, 1)}
local t = {3, 1, 2} table.sort(t) return t
local t = {} for i = 1, 2000 do t[i] = (i * 7919) % 2003 end table.sort(t) return {t[1], t[1000], t[2000]}
return {('hello world'):find('o w'), ('hello'):match('(h)(.)'), ('key = value'):match('^(%w+)%s*=%s*(%w+)$')}
return {('hello world'):gsub('o', '0'), ('abc'):gsub('%w', '%0%0'), ('abc'):gsub('', '-'), ('hello'):gsub('l', {l='L'}), ('x y'):gsub('%a', function(c) return c:upper() end)}
local r = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do r[#r + 1] = k r[#r + 1] = v end return r
return {('THE (quick) fox'):find('%((%a+)%)'), ('f(a(b)c)d'):match('%b()'), ('THE (quick) fox'):gsub('%f[%a]%a+', 'w'), ('aXbX'):match('.-X'), ('a.b'):find('.', 1, true), ('x'):find('', 10), ('abc'):find('b', -2), ('[]]'):match('[]]'), ('a-b'):match('[a%-]+'), ('abc'):match('()b()')}
return ('x'):find('[a')
return ('x'):find('%')
return ('x'):gsub('(', '')
return ('x'):gsub('x', '%2')
return ('abab'):match('(ab)%1')
return string.format('%5.2f|%d|%s|%q|%x', 3.14159, 42, 'x', 'a"b', 255)
return cmsgpack.pack({1, 2, {a=1}}, 'x', 1.5, -1, true, nil, 2^40, -2^40, 300, -300, 70000)
return cmsgpack.pack()
return cmsgpack.pack({})
return cmsgpack.pack(1e300, 0.1, 2^31, 2^32, 2^63, -2^63, 128, -128, -129, 255, 256, 65535, 65536)
local t = {} t[1] = t return cmsgpack.pack(t)
return cmsgpack.pack({[1]=1, [3]=3})
return cmsgpack.pack(('x'):rep(40))
return {cmsgpack.unpack(cmsgpack.pack(1, 2, 3))}
return {cmsgpack.unpack(cmsgpack.pack({1, {a=true}}))}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 0)}
return cmsgpack.unpack('\193')
return cmsgpack.unpack_one('x', 5)
return cmsgpack.unpack_one('\1\2', -1)
return cmsgpack.unpack_one()
return struct.pack('>I2<i4bBhHlLfds', 1, 2, 3, 4, 5, 6, 7, 8, 1.5, 2.5, 'str')
return {struct.unpack('>I2<i4bs', struct.pack('>I2<i4bs', 1, -2, -3, 'hey'))}
return {struct.unpack('i17', 'x')}
return struct.size('i4i8!4bi4')
return struct.size('s')
return struct.pack('!3i4', 1)
return struct.pack('i33', 1)
return struct.pack('c5', 'ab')
return struct.pack('c0', 'ab')
return {struct.unpack('bc0', '\3abcd')}
return {struct.unpack('c0', 'abc')}
return {struct.unpack('s', 'ab')}
return {struct.unpack('i4', 'abcdefgh', 0)}
return {struct.unpack('i4', 'abcdefgh', 5)}
return struct.pack('=i4', 1)
return struct.pack('!i1i4i8', 1, 2, 3)
return struct.pack('I4', -1)
return struct.pack('i')
return {bit.band(255, 15, 7), bit.bor(1, 2, 4), bit.bxor(255, 1), bit.bnot(0), bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-16, 2), bit.rol(1, 33), bit.ror(1, 1), bit.bswap(1), bit.tobit(2^40 + 5), bit.tohex(65535, -4), bit.tohex(-1)}
return bit.band('x')
return cjson.encode({1, nil, 3})
return cjson.encode({[20]=1})
return cjson.encode({})
return cjson.encode({[1.5]=1})
return cjson.encode({[true]=1})
return cjson.encode(0/0)
return cjson.encode(cjson.null)
return cjson.encode({a=redis.call})
return cjson.encode("a/b\"\127\1")
return cjson.encode(1e15)
return cjson.encode(123456789012345678)
local t = {} t[1] = t return cjson.encode(t)
local t = {} for i = 1, 1100 do t = {t} end return cjson.encode(t)
return cjson.encode()
return cjson.encode({['x']={}})
return cjson.decode('')
return cjson.decode('[1,2')
return cjson.decode('[1 2]')
return cjson.decode('{1:2}')
return cjson.decode('{"a" 1}')
return cjson.decode('{"a":1')
return cjson.decode('[1]x')
return cjson.decode('[1,]')
return cjson.decode('nul')
return cjson.decode('01')
return tostring(cjson.decode('-inf'))
return tostring(cjson.decode('0x10'))
return cjson.decode('"abc')
return cjson.decode('"\\u12"')
return cjson.decode('"\\x"')
return cjson.decode('"\\ud83d\\ude00"')
return cjson.decode('"\\ud83d"')
return cjson.decode(('['):rep(1100))
return tostring(cjson.decode('null'))
return cjson.decode('-')
return cjson.decode('{"a":{"b":[1,2,{"c":null}]}}').a.b[2]
return {tostring(cjson.encode_sparse_array()), cjson.encode_max_depth(), cjson.encode_number_precision()}
return cjson.encode_max_depth(0)
return cjson.encode_number_precision(99)
return cjson.encode_sparse_array('x')
return cjson._VERSION .. cjson._NAME
redis.call('set', 'n', 3) redis.call('incr', 'n') error('stop')
return redis.call('get', 'n')
""".strip().split("\n")

HEADED = ["#!lua\nreturn 1", "#!lua flags=no-writes\nreturn redis.call('set','a','b')", "#!lua flags=foo\nreturn 1",
          "#!lua2\nreturn 1", "#!lua x=1\nreturn 1", "#!lua", "#!lua\nreturn x", "#!lua\n\nerror('x')", "#!lua flags=\nreturn 1",
          "#!lua flags=no-writes,,allow-oom\nreturn 1", "#!lua flags=no-writes,allow-stale\nreturn redis.call('get','str')",
          "\n\nerror('hi')", "return 1\n", "-- comment"]


class Pairs(BesidePeer, Case):
    def both(self, resp=2):
        a, b = Answers(self.server.resp, PASSWORD), Answers(self.peer.port)
        if resp == 3:
            for c in (a, b):
                c.ask(b"HELLO", b"3", *([b"AUTH", b"default", PASSWORD.encode()] if c is a else []))
        for words in SETUP:
            for c in (a, b):
                c.ask(*(w.encode() for w in words))
        return a, b

    def same(self, a, b, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.assertEqual(a.ask(*words), b.ask(*words), words)

    def listeners(self, a, b):
        """Of the keyspace events of both."""
        out = []
        for c, listener in ((a, Answers(self.server.resp, PASSWORD)), (b, Answers(self.peer.port))):
            self.assertEqual(c.ask(b"CONFIG", b"SET", b"notify-keyspace-events", b"AKEn"), b"+OK\r\n")
            self.addCleanup(self.forget_events, listener, self.server.resp if c is a else self.peer.port)
            listener.ask(b"PSUBSCRIBE", b"__key*__:*")
            out.append(listener)
        return out

    def forget_events(self, listener, port):
        listener.close()
        c = Answers(port, PASSWORD if port == self.server.resp else None)
        c.ask(b"CONFIG", b"SET", b"notify-keyspace-events", b"")
        c.close()

    def events(self, listener, c):
        """What was told until now."""
        c.ask(b"PUBLISH", b"__key__:end", b"")
        out = []
        while True:
            _, _, channel, message = parsed(listener.next())
            if channel == b"__key__:end":
                return out
            out.append((channel, message))

    def test_what_scripts_change_is_told_as_redis_tells_it(self):
        a, b = self.both()
        la, lb = self.listeners(a, b)
        # Each asks for the end through a connection of its own: the other is in MULTI now and then.
        ends = Answers(self.server.resp, PASSWORD), Answers(self.peer.port)
        told = 0
        for words in [("EVAL", "redis.call('SET', KEYS[1], 1) redis.call('INCR', KEYS[1]) return redis.call('DEL', KEYS[1])", 1, "e1"),
                      ("EVAL", "redis.call('RPUSH', 'e2', 'a', 'b') redis.call('LPOP', 'e2', 2) redis.call('HSET', 'e3', 'f', 1)", 0),
                      ("EVAL", "for i = 1, 6 do redis.call('SET', 'e4' .. i, i, 'EX', 1000) end return redis.call('RENAME', 'e41', 'e42')", 0),
                      ("EVAL", "redis.call('SET', 'e5', 1) redis.pcall('LPUSH', 'e5', 1) error('stop')", 0),
                      ("EVAL", "redis.call('SET', 'e5', 1) redis.call('LPUSH', 'e5', 1)", 0),
                      ("EVAL", "redis.call('SELECT', 3) return redis.call('SET', 'e6', 1)", 0),
                      ("EVAL_RO", "return redis.call('SET', 'e7', 1)", 0),
                      ("EVAL", "return redis.call('GET', 'e1')", 0),
                      ("MULTI",), ("SET", "e8", 1), ("EVAL", "redis.call('APPEND', 'e8', ARGV[1]) redis.call('SADD', 'e9', 1, 2)", 0, "x"),
                      ("SREM", "e9", 1, 2), ("EXEC",), ("MULTI",), ("EVAL", "return redis.call('SET', 'e8', 1)", 0), ("DISCARD",),
                      ("FUNCTION", "LOAD", "REPLACE", "#!lua name=e\nredis.register_function('e', function(k) return redis.call('ZADD', k[1], 1, 'm') end)"),
                      ("FCALL", "e", 1, "e10"), ("FUNCTION", "DELETE", "e")]:
            self.same(a, b, *words)
            ours, redis = self.events(la, ends[0]), self.events(lb, ends[1])
            self.assertEqual(ours, redis, words)
            told += len(ours)
        self.assertGreater(told, 50)
        # What is taken back is not told: that it takes too much memory is ours alone.
        self.assertIn(b"nothing of it was done", a.ask(b"EVAL", b"redis.call('SET', 'e11', 1) " + GROWS.encode(), b"0"))
        self.assertEqual(self.events(la, a), [])
        for words in ((b"MULTI",), (b"SET", b"e12", b"1"), (b"EVAL", b"redis.call('SET', 'e13', 1) " + GROWS.encode(), b"0"), (b"SET", b"e14", b"1")):
            a.ask(*words)
        self.assertIn(b"EXECABORT", a.ask(b"EXEC"))
        self.assertEqual(self.events(la, a), [])
        self.assertEqual(a.ask(b"EXISTS", b"e11", b"e12", b"e13", b"e14"), b":0\r\n")
        for c in (a, b, *ends):
            c.close()

    def test_answers_are_those_of_redis(self):
        for resp in (2, 3):
            a, b = self.both(resp)
            for script in SCRIPTS + HEADED:
                self.same(a, b, "EVAL", script, 0)
            for script in HEADED + ["return redis.call('set','a','b')", "return redis.pcall('set','a','b')", "return redis.call('get','str')"]:
                self.same(a, b, "EVAL_RO", script, 0)
            for words in (("EVAL", "return 1", -1), ("EVAL", "return 1", "x"), ("EVAL", "return 1", 2, "a"), ("EVALSHA", "abc", 0),
                          ("EVALSHA", "f" * 40, 0), ("EVALSHA", "f" * 40, "x"), ("EVAL", "return {KEYS[1],ARGV[1],#KEYS,#ARGV}", 2, "a", "b", "c"),
                          ("EVAL", "return 1"), ("EVALSHA_RO", "f" * 40, 0), ("SCRIPT", "DEBUG", "foo"), ("SCRIPT", "FLUSH", "foo"),
                          ("SCRIPT", "KILL"), ("SCRIPT", "LOAD", "return )"), ("SCRIPT", "LOAD", "return 1"), ("SCRIPT", "EXISTS"),
                          ("SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "x"), ("SCRIPT", "FOO"), ("SCRIPT", "FLUSH", "ASYNC"),
                          ("SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"), ("COMMAND", "GETKEYS", "EVAL", "x", 2, "a", "b", "c")):
                self.same(a, b, *words)
            self.same(a, b, "GET", "n")
            a.close()
            b.close()

    # PUBLISH and PFCOUNT write nothing, but Redis may replicate them.
    def test_scripts_that_read_only_may_not_publish(self):
        for resp in (2, 3):
            a, b = self.both(resp)
            for words in (("PUBLISH", "c", "m"), ("SPUBLISH", "c", "m"), ("PFCOUNT", "none"), ("PFADD", "none", "a"), ("SET", "x", 1), ("GET", "none"),
                          ("PUBLISH", "c")):
                for source in ("return redis.call(unpack(ARGV))", "#!lua flags=no-writes\nreturn redis.call(unpack(ARGV))",
                               "return redis.pcall(unpack(ARGV)).err"):
                    self.same(a, b, "EVAL_RO", source, 0, *words)
                self.same(a, b, "EVAL", "#!lua flags=no-writes\nreturn redis.call(unpack(ARGV))", 0, *words)
            a.close()
            b.close()

    # The words of a command took all of Lua's stack, and its answer found no room.
    def test_commands_may_have_as_many_words_as_unpack_gives(self):
        a, b = self.both()
        for n in (7990, 7997, 7998, 7999, 8000):
            for command in ("redis.call('RPUSH', KEYS[1], unpack(t))", "#redis.call('MGET', unpack(t))", "redis.call('DEL', KEYS[1], unpack(t))"):
                self.same(a, b, "EVAL", "local t = {} for i = 1, %d do t[i] = i end return %s" % (n, command), 1, "unpacked")
        a.close()
        b.close()

    def test_functions_are_those_of_redis(self):
        head = "#!lua name=x\n"
        register = "redis.register_function"
        for resp in (2, 3):
            a, b = self.both(resp)
            same = lambda *words: self.same(a, b, *words)
            same("FUNCTION", "FLUSH")
            for source in ["return 1", "#!lua\n", "#!lua name=a b\n", "#!lua name=\n", "#!lua name=x foo=1\n", "#!foo name=x\n", "#!lua name=x",
                           "#!lua name=x\n", "#!lua name=x name=y\n", "#!lua name=x-y\n", head + "return )", head + register + "('f')",
                           head + register + "()", head + register + "('f-f',function() end)", head + register + "('f',1)",
                           head + register + "({},function() end)", head + register + "{}", head + register + "{function_name='q'}",
                           head + register + "{callback=function() end}", head + register + "{function_name='q',callback=function() end,foo=1}",
                           head + register + "{function_name='q',callback=function() end,flags=1}",
                           head + register + "{function_name='q',callback=function() end,flags={'foo'}}",
                           head + register + "('q',function() end) " + register + "('q',function() end)", head + "x=1", head + "return KEYS",
                           head + register + "{function_name=1,callback=function() end}", head + register + "{function_name='q',callback=1}",
                           head + register + "{function_name='q',callback=function() end,description=1}", head + register + "{1,2}",
                           head + register + "(1,2,3)"]:
                same("FUNCTION", "LOAD", source)
            for line in ('#!lua name="foo"', "#!lua name='foo'", '#!"lua" name=foo', '#!lua "name=foo"', '#!lua name="a', '#!lua name=a"b"', "#! name=a",
                         "#!", "#!lua ", "#!LUA NAME=a", '#!lua name="\\x61b"', '#!lua name="a"b', "#! lua name=a", '#!""  name=a', '#!lua  ""',
                         "#!lua name=a\r", "#!x", "#!x foo=1", "#!lua name=a \0b", "#!lua 'name=a\\'b'", '#!lua name="a\\tb"', "#!x name=a-b"):
                same("FUNCTION", "LOAD", "REPLACE", line + "\n" + register + "('f',function() end)")
                same("FUNCTION", "FLUSH")
            for line in ('#!"lua" flags=no-writes', '#!lua "flags=no-writes"', '#!lua flags="', "#!lua flags=a\tb", '#!lua ""', "#! ", "#! lua",
                         "#!lua 'flags=no-writes,allow-oom'", '#!lua flags="no-wri\\x74es"', "#!lua\0", "#!lua flags='a"):
                same("EVAL", line + "\nreturn redis.call('SET', 'q', 1)", 0)
            # What a library may see while it is loaded, and afterwards.
            for name in ("math", "string", "table", "cjson", "pairs", "tonumber", "pcall", "error", "_G", "KEYS", "x", "redis.call", "redis.sha1hex",
                         "redis.REPL_ALL", "redis.log", "redis.LOG_NOTICE", "redis.nope"):
                same("FUNCTION", "LOAD", "REPLACE", head + "local a = " + name + " " + register + "('f',function() return type(" + name + ") end)")
                same("FUNCTION", "LOAD", "REPLACE", head + register + "('f',function() return type(" + name + ") end)")
                same("FCALL", "f", 0)
            for body in ("local r = redis " + register + "('f',function() return r.register_function('g',function() end) end)",
                         "local r = redis " + register + "('f',function() return r.call('GET', 'x') end)",
                         register + "('f',function() return redis.register_function('g',function() end) end)",
                         register + "('f',function() return tostring(redis.register_function) end)",
                         "local s = ('x'):rep(3) " + register + "('f',function() return s end)", "redis.x = 1", "x = 1",
                         register + "('f',function() x = 1 end)", register + "('f',function() redis.x = 1 end)"):
                same("FUNCTION", "LOAD", "REPLACE", head + body)
                same("FCALL", "f", 0)
            # Names are the same in any case.
            same("FUNCTION", "LOAD", "REPLACE", head + register + "('tesT',function() return 1 end)")
            for name in ("TEST", "test", "tesT"):
                same("FCALL", name, 0)
                same("FUNCTION", "LOAD", "#!lua name=X\n" + register + "('" + name + "',function() end)")
            same("FUNCTION", "LOAD", "REPLACE", "#!lua name=X\n" + register + "('other',function() end)")
            same("FUNCTION", "FLUSH")
            one = "#!lua name=l\n" + register + "{function_name='f',callback=function(k,a) return {k[1],a[1]} end,flags={'no-writes'},description='d'}"
            same("FUNCTION", "LOAD", one)
            same("FUNCTION", "LOAD", one)
            same("FUNCTION", "LOAD", "REPLACE", one)
            same("FUNCTION", "LOAD", "#!lua name=m\n" + register + "('g',function() return redis.call('set','x','1') end)")
            same("FUNCTION", "LOAD", "#!lua name=m2\n" + register + "('g',function() end)")
            same("FUNCTION", "LOAD", "#!lua name=e\n" + register + "('e',function() error('boo') end)")
            same("FUNCTION", "LOAD", "#!lua name=w\n" + register + "('w',function() return redis.call('get') end)")
            same("FUNCTION", "LOAD", "#!lua name=v\n" + register + "('v',function() return KEYS end)")
            for words in (("FCALL", "f", 1, "a", "b"), ("FCALL", "f", 0), ("FCALL", "nope", 0), ("FCALL", "f", "x"), ("FCALL", "f", -1),
                          ("FCALL", "f", 3, "a"), ("FCALL_RO", "g", 0), ("FCALL_RO", "f", 0), ("FCALL", "g", 0), ("FCALL", "e", 0),
                          ("FCALL", "w", 0), ("FCALL", "v", 0), ("FUNCTION", "DELETE", "nope"), ("FUNCTION", "LIST", "LIBRARYNAME", "l"),
                          ("FUNCTION", "LIST", "LIBRARYNAME", "l", "WITHCODE"), ("FUNCTION", "LIST", "foo"), ("FUNCTION", "LIST", "LIBRARYNAME"),
                          ("FUNCTION", "STATS"), ("FUNCTION", "FLUSH", "foo"), ("FUNCTION", "KILL"), ("FUNCTION", "RESTORE", "foo"),
                          ("FUNCTION", "RESTORE", "foo", "bar"), ("FUNCTION", "LOAD", "REPLACE"), ("FUNCTION", "LOAD", "foo", "bar"),
                          ("FUNCTION", "DELETE", "l"), ("FCALL", "f", 0)):
                same(*words)
            # Each restores what the other dumped.
            for c, d in ((a, b), (b, a)):
                dump = c.ask(b"FUNCTION", b"DUMP")
                payload = dump[dump.index(b"\r\n") + 2:-2]
                self.assertEqual(d.ask(b"FUNCTION", b"RESTORE", payload, b"FLUSH"), b"+OK\r\n")
                self.assertRegex(d.ask(b"FUNCTION", b"RESTORE", payload), b"^-ERR Library [a-z]+ already exists\r")
                same("FCALL", "g", 0)
                same("FCALL", "e", 0)
            same("FUNCTION", "FLUSH")
            same("FUNCTION", "DUMP")
            a.close()
            b.close()

    def test_generated_scripts_do_the_same(self):
        seed = int(os.environ.get("CAIRN_WIRE_SEED", time.time_ns() % 10**9))
        r = random.Random(seed)
        key = lambda: r.choice(["str", "n", "h", "l", "s", "z", "k1", "k2"])
        value = lambda: r.choice(["1", "-5", "'x'", "2.5", "'17'", "ARGV[1]", "i", "'a' .. i"])

        def call():
            name = r.choice(["get", "set", "incr", "incrby", "append", "hset", "hget", "hdel", "hlen", "rpush", "lpop", "lrange", "llen", "sadd", "srem",
                             "scard", "zadd", "zscore", "zincrby", "zrange", "del", "exists", "type", "rename", "strlen", "getrange", "setrange", "mget",
                             "persist", "getset", "hincrby", "sismember", "lindex", "ltrim", "copy", "nope"])
            words = ["'%s'" % name] + ["'%s'" % key() if r.random() < 0.6 else value() for _ in range(r.choice([0, 1, 1, 2, 2, 3, 4]))]
            return "redis.%s(%s)" % (r.choice(["call", "pcall", "pcall", "pcall"]), ", ".join(words))

        def script():
            lines = ["local r = {}"]
            if r.random() < 0.3:
                lines.append("redis.setresp(3)")
            lines.append("for i = 1, %d do" % r.choice([1, 1, 2, 5]))
            for _ in range(r.randrange(1, 5)):
                lines.append("  r[#r + 1] = %s" % call())
            lines.append("end")
            lines.append(r.choice(["return r", "return r[1]", "return {#r, r[#r]}", "error('end')", "return r.x"]))
            return "\n".join(lines)

        deadline, n = time.monotonic() + SECONDS, 0
        while time.monotonic() < deadline:
            a, b = self.both(r.choice([2, 3]))
            la, lb = self.listeners(a, b)
            for _ in range(100):
                source = script()
                words = ["EVAL", source, 2, "str", "k1", "7"] if r.random() < 0.7 else ["EVAL", source, 0, "7"]
                answers = [c.ask(*(str(w).encode() for w in words)) for c in (a, b)]
                self.assertEqual(answers[0], answers[1], "seed %d: %s" % (seed, source))
                self.assertEqual(self.events(la, a), self.events(lb, b), "seed %d: %s" % (seed, source))
                n += 1
            for words in (("MGET", "str", "n", "k1", "k2"), ("HLEN", "h"), ("LRANGE", "l", 0, -1), ("SCARD", "s"), ("ZRANGE", "z", 0, -1, "WITHSCORES"),
                          ("DBSIZE",), ("EXISTS", "str", "n", "h", "l", "s", "z", "k1", "k2")):
                self.same(a, b, *words)
            for c in (a, b, la, lb):
                c.close()
        print("%d scripts" % n)

    def test_who_is_killed_is_told_so_in_redis_words(self):
        a, b = self.both()
        ends = Answers(self.server.resp, PASSWORD), Answers(self.peer.port)
        for c in ends:
            c.ask(b"CONFIG", b"SET", b"busy-reply-threshold", b"50")
            self.addCleanup(c.ask, b"CONFIG", b"SET", b"busy-reply-threshold", b"5000")
            c.ask(b"FUNCTION", b"LOAD", b"REPLACE", b"#!lua name=endless\nredis.register_function('endless',\n function() while true do end end)")
        for kill, words in ((b"SCRIPT", (b"EVAL", b"while true do end", b"0")), (b"SCRIPT", (b"EVAL", b"local n = 1\n\nwhile true do n = n + 1 end", b"0")),
                            (b"SCRIPT", (b"EVAL", b"\nwhile true do pcall(redis.call, 'GET', KEYS[1]) end", b"1", b"k")),
                            (b"SCRIPT", (b"EVAL", b"\nlocal f = function() while true do redis.call('GET', 'k') end end\nf()", b"0")),
                            (b"FUNCTION", (b"FCALL", b"endless", b"0"))):
            told = []
            for c, end in zip((a, b), ends):
                c.socket.sendall(command(*words))
                self.assertTrue(wait_until(lambda: end.ask(kill, b"KILL") == b"+OK\r\n"))
                told.append(c.next())
            self.assertEqual(told[0], told[1], words)
        for c in (a, b):
            c.ask(b"FUNCTION", b"FLUSH")
            c.close()

    def test_errors_of_commands_are_marked_as_redis_marks_them(self):
        a, b = self.both()
        for call in ("'nosuch'", "'get'", "'subscribe', 'c'", "'incr', 'h'", "", "{}", "'incr', 'n'", "'client', 'nosuch'"):
            for eval_ in ("EVAL", "EVAL_RO"):
                source = "local e = redis.pcall(%s) if type(e) ~= 'table' then return e end return {e.err, tostring(e.ignore_error_stats_update)}"
                self.same(a, b, eval_, source % call, 0)
        a.close()
        b.close()

    def test_commands_for_no_script_are_those_of_redis(self):
        theirs = {}

        def walk(row):
            theirs[row[0]] = b"noscript" in row[2]
            for sub in row[9] if len(row) > 9 else []:
                walk(sub)
        peer = redis.Redis(port=self.peer.port)
        peer.response_callbacks.clear()
        for row in peer.execute_command("COMMAND"):
            walk(row)
        r = self.server.redis()
        r.response_callbacks.clear()
        names = r.execute_command("COMMAND", "LIST")
        wrong = []
        for name in names:
            row = r.execute_command("COMMAND", "INFO", name)[0]
            if name.startswith((b"bl", b"br", b"bz")):
                continue  # since 7.2 scripts may call them, and do not wait
            if name in theirs and (b"noscript" in row[2]) != theirs[name]:
                wrong.append((name, theirs[name]))
        self.assertEqual(wrong, [])


class Scripts(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.r.flushall()

    def test_a_lock_of_redis_py_is_taken_extended_and_given_back(self):
        lock = self.r.lock("lock", timeout=10)
        self.assertTrue(lock.acquire(blocking=False))
        self.assertFalse(self.r.lock("lock", timeout=10).acquire(blocking=False))
        self.assertTrue(lock.extend(20))
        self.assertGreater(self.r.pttl("lock"), 15_000)
        self.assertTrue(lock.reacquire())
        lock.release()
        self.assertEqual(self.r.exists("lock"), 0)
        with self.assertRaises(redis.exceptions.LockError):
            lock.release()

    def test_values_in_extents_are_read_and_written(self):
        data = os.urandom(300_000)
        self.r.set("v", data)
        self.assertEqual(self.r.eval("return redis.call('GET', KEYS[1])", 1, "v"), data)
        self.assertEqual(self.r.eval("redis.call('SET', 'w', ARGV[1]) return redis.call('GET', 'v') == redis.call('GET', 'w')", 0, data), 1)
        self.assertEqual(self.r.get("w"), data)
        self.assertEqual(self.r.eval(("-- %s\n" % ("x" * 200_000)) + "return 7", 0), 7)

    def test_large_collections_come_whole(self):
        for at in range(0, 50_000, 1000):
            self.r.hset("h", mapping={"field%d" % i: "value%d" % i for i in range(at, at + 1000)})
            self.r.sadd("s", *("member%d" % i for i in range(at, at + 1000)))
            self.r.zadd("z", {"member%d" % i: i for i in range(at, at + 1000)})
            self.r.rpush("l", *range(at, at + 1000))
        for command, n in (("HGETALL", 100_000), ("HKEYS", 50_000), ("SMEMBERS", 50_000)):
            self.assertEqual(self.r.eval("return #redis.call(ARGV[1], KEYS[1])", 1, command[0].lower(), command), n)
        for command in ("LRANGE", "ZRANGE"):
            self.assertEqual(self.r.eval("return #redis.call(ARGV[1], KEYS[1], 0, -1)", 1, command[0].lower(), command), 50_000)

    def test_what_a_script_publishes_comes_once(self):
        p = self.r.pubsub()
        p.subscribe("c")
        p.psubscribe("*")
        self.assertTrue(wait_until(lambda: self.r.publish("other", "x") == 1))
        self.assertEqual(self.r.eval("local n = redis.call('PUBLISH', 'c', 'm') redis.call('SET', 'undeclared', 1) return n", 0), 2)
        got = [m for m in (p.get_message(timeout=1) for _ in range(12)) if m and m.get("data") == b"m"]
        self.assertEqual(len(got), 2)

    def test_what_a_transaction_publishes_comes_once_and_if_it_is_done(self):
        p = self.r.pubsub()
        p.subscribe("c")
        self.assertTrue(wait_until(lambda: self.r.publish("c", "x") == 1))
        again = self.r.pipeline(transaction=True)
        again.publish("c", "once").eval("return redis.call('INCR', 'undeclared' .. ARGV[1])", 0, "1")
        self.assertEqual(again.execute(), [1, 1])
        killed = self.r.pipeline(transaction=True)
        killed.publish("c", "never").eval(GROWS, 0)
        with self.assertRaises(redis.exceptions.ExecAbortError):
            killed.execute()
        self.assertEqual(self.r.publish("c", "end"), 1)
        got = []
        while not got or got[-1] != b"end":
            message = p.get_message(ignore_subscribe_messages=True, timeout=10)
            if message:
                got.append(message["data"])
        self.assertEqual([m for m in got if m != b"x"], [b"once", b"end"])

    def test_a_transaction_that_begins_again_has_its_large_values(self):
        large = b"x" * 100_000
        p = self.r.pipeline(transaction=True)
        p.set("a", large).append("b", large).execute_command("MSETEX", 1, "c", large)
        p.eval("return redis.call('INCR', 'undeclared' .. ARGV[1])", 0, "2")
        self.assertEqual(p.execute(), [True, len(large), 1, 1])
        self.assertEqual(self.r.mget("a", "b", "c"), [large] * 3)

    def test_scripts_of_one_key_in_a_pipeline(self):
        """Their keys are looked up and locked ahead, together; what else they touch is not."""
        p = self.r.pipeline(transaction=False)
        for i in range(60):
            p.eval("redis.call('INCR', KEYS[1]) return redis.call('INCR', 'sum') + redis.call('STRLEN', 'other' .. ARGV[1] % 7)", 1, "k%d" % (i % 20), i)
            p.incr("k%d" % (i % 20))
            p.eval("return redis.call('GET', KEYS[1])", 1, "k%d" % (i % 20))
        self.assertEqual(p.execute(), sum(([i + 1, 2 * (i // 20) + 2, b"%d" % (2 * (i // 20) + 2)] for i in range(60)), []))

    def test_who_waits_is_served_when_a_script_is_over(self):
        for call, expected, source in (
                (lambda r: r.blpop("list", 60), (b"list", b"1"), "redis.call('RPUSH', KEYS[1], 1, 2) redis.call('RPUSH', KEYS[1], 3)"),
                (lambda r: r.bzpopmin("list", 60), (b"list", b"m", 1.0), "redis.call('ZADD', 'list', 1, 'm') redis.call('ZADD', 'list', 2, 'n')"),
                (lambda r: r.xread({"list": "$"}, block=60_000), [[b"list", [(b"5-1", {b"f": b"v"})]]], "redis.call('XADD', KEYS[1], '5-1', 'f', 'v')"),
                (lambda r: r.blmove("list", "other", 60), b"x", "redis.call('SET', 'list', 1) redis.call('DEL', 'list') redis.call('RPUSH', 'list', 'x')")):
            self.r.delete("list")
            got, waits = [], self.server.redis()
            thread = threading.Thread(target=lambda: got.append(call(waits)))
            thread.start()
            blocked = lambda: self.r.info("clients")["blocked_clients"]
            self.assertTrue(wait_until(lambda: blocked() == 1))
            # What is taken back serves nobody.
            with self.assertRaises(redis.ResponseError):
                self.r.eval(source + " " + GROWS, 1, "list")
            self.assertEqual((blocked(), got), (1, []))
            self.r.eval(source, 1, "list")
            thread.join()
            self.assertEqual(got, [expected])
        self.assertEqual(self.r.lrange("other", 0, -1), [b"x"])

    def test_what_takes_the_thread_is_bounded(self):
        with self.assertRaisesRegex(redis.ResponseError, "a script has at most"):
            self.r.eval("--" + "x" * (5 << 20), 0)
        # Each alone is quick enough; all of them are loaded in one go by each thread.
        slow = "#!lua name=slow%d\nlocal n = 0 for i = 1, 3e6 do n = n + i %% 7 end redis.register_function('slow%d', function() return 1 end)"
        loaded = 0
        with self.assertRaisesRegex(redis.ResponseError, "too long to load together|timeout"):
            for loaded in range(1000):
                self.r.function_load(slow % (loaded, loaded))
        self.assertLess(loaded, 500)
        self.r.function_flush()
        # A loop of few instructions that calls slow commands.
        for at in range(0, 200_000, 1000):
            self.r.mset({"many%d" % i: 1 for i in range(at, at + 1000)})
        self.assertLess(self.killed("for i = 1, 100000 do redis.call('KEYS', 'none*') end"), 30)

    def killed(self, source, end="killed by user with SCRIPT KILL"):
        """How long a script runs on that SCRIPT KILL has ended."""
        answers = []

        def run():
            with self.server.redis() as r:
                try:
                    answers.append(r.eval(source, 0))
                except redis.ResponseError as e:
                    answers.append(str(e))
        thread = threading.Thread(target=run)
        thread.start()
        told = 0.0
        while thread.is_alive():
            try:
                self.r.script_kill()
                told = told or time.monotonic()
                thread.join(0.01)
            except redis.ResponseError as e:
                self.assertIn("NOTBUSY", str(e))
        self.assertRegex(str(answers[0]), end, source)
        return time.monotonic() - told if told else 0

    def test_a_position_far_from_the_elements_is_refused(self):
        for position in ("2^31", "-2^31", "-2^40", "0/0", "1/0"):
            with self.assertRaisesRegex(redis.ResponseError, "position out of bounds"):
                self.r.eval("return table.insert({}, %s, 1)" % position, 0)

    def rss_mb(self):
        with open("/proc/%d/status" % self.server.process.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) // 1024

    # Time was looked at each 10,000 instructions, and one instruction may take long: half a minute went by.
    def test_what_takes_long_without_instructions_of_lua_is_ended(self):
        lowest = "local t = {} for i = 1, 2e5 do t[i] = i end "
        for source in (lowest + "for i = 1, 1e9 do table.insert(t, 1, i) end",
                       lowest + "for i = 1, 1e9 do t[i] = 1 table.maxn(t) end",
                       lowest + "while true do table.concat(t) end",
                       "local s = ('\\0'):rep(1e7) local a, b = s .. 'a', s .. 'b' while a < b do end",
                       "local t = {} for i = 1, 3e5 do t['k' .. i] = i end for i = 1, 3e5 do t['k' .. i] = nil end while true do next(t) end",
                       "local t = {} for i = 1, 3e5 do t[i] = {} end while true do collectgarbage() end",
                       "load(collectgarbage) while true do load(math.random) end",
                       "local s = ('x = 1 '):rep(5e5) while true do loadstring(s) end",
                       "local s = ('x'):rep(1e7) while true do redis.sha1hex(s) s:lower() s:reverse() end",
                       "local p = '[' .. ('b'):rep(1e5) .. ']' while true do (('a'):rep(1e5)):find(p) end",
                       "local function inner() for i = 1, 3000 do end end "
                       "local function outer() for i = 1, 300 do coroutine.wrap(inner)() end end while true do coroutine.wrap(outer)() end",
                       "local t = {} for i = 1, 3e5 do t['k' .. i] = i end for i = 1, 3e5 do t['k' .. i] = nil end "
                       "local all = {} for i = 1, 1e5 do all[i] = t end return cjson.encode(all)",
                       "local t = {} for i = 1, 3e5 do t['k' .. i] = i end for i = 1, 3e5 do t['k' .. i] = nil end "
                       "local all = {} for i = 1, 6e4 do all[i] = t end return cmsgpack.pack(all)",
                       "local t = {} for i = 1, 3e5 do t['k' .. i] = i end for i = 1, 3e5 do t['k' .. i] = nil end "
                       "local all = {} for i = 1, 1e5 do all[i] = {map = t} end return all",
                       "xpcall(function() while true do end end, function() while true do end end)",
                       "while true do xpcall(function() error('x') end, function() while true do end end) end",
                       "coroutine.wrap(function() xpcall(function() while true do end end, function() while true do end end) end)()",
                       "local t = {1} for i = 1, 60 do t = {t, t} end return t",
                       "local t = {} for i = 1, 1e5 do t[i] = '' end while true do table.concat(t) end",
                       "local s, t = ('x'):rep(1e6), {} for i = 1, 60 do t[i] = s .. i end while true do table.sort(t) end",
                       "while true do table.insert({}, -1e6, 1) end"):
            self.assertLess(self.killed(source), 8, source)
        self.assertEqual(self.r.eval("local t = {} table.foreach({'a', 'b'}, rawequal) table.sort({2, 1}, rawequal) return 1", 0), 1)

    # Each level doubles what is answered; nothing looked at the time.
    def test_an_answer_without_end_is_ended(self):
        deep = "local t = {1} for i = 1, %d do t = {t, t} end "
        for source in (deep % 60 + "return t", deep % 60 + "return {map = {a = t}}", deep % 60 + "return {set = {[t] = 1}}"):
            self.assertLess(self.killed(source, "killed by user|too large"), 8, source)
        # What has written is not killed; its answer has a limit of its own.
        with self.assertRaisesRegex(redis.ResponseError, "answer is too large, and nothing of it was done"):
            self.r.eval(deep % 60 + "redis.call('SET', 'k', 1) return {set = {[t] = 1}}", 0)
        self.assertEqual(self.r.exists("k"), 0)
        self.assertEqual(self.r.eval(deep % 3 + "return #t", 0), 2)

    # Nothing was collected while only sources came, and each left its parts behind.
    def test_sources_that_do_not_compile_leave_nothing(self):
        piece = "local a={" + "function()end," * 1300 + "}\n"
        body = "do " + " end do ".join([piece] * ((2 << 20) // len(piece))) + " end )"
        refused = "near '\\)'"
        with self.assertRaisesRegex(redis.ResponseError, refused):
            self.r.script_load(body)
        before = self.rss_mb()
        for i in range(12):
            for load in (self.r.script_load, lambda s: self.r.eval(s, 0), lambda s: self.r.function_load("#!lua name=l\n" + s)):
                with self.assertRaisesRegex(redis.ResponseError, refused):
                    load("-- %d\n%s" % (i, body))
        self.assertLess(self.rss_mb() - before, 150)

    # They were held for nobody, in no limit.
    def test_messages_that_a_script_publishes_are_within_its_memory(self):
        many = "local m = ('x'):rep(1e6) for i = 1, 400 do redis.call('PUBLISH', 'c', m) end return 1"
        before = self.rss_mb()
        self.assertEqual(self.r.eval(many, 0), 1)
        self.assertLess(self.rss_mb() - before, 100)
        with self.r.pubsub() as listener:
            listener.subscribe("c")
            self.assertEqual(listener.get_message(timeout=10)["type"], "subscribe")
            with self.assertRaisesRegex(redis.ResponseError, "more memory than a script may"):
                self.r.eval(many, 0)
            # All of a transaction together.
            pipe = self.r.pipeline(transaction=True)
            for _ in range(100):
                pipe.eval("local m = ('x'):rep(1e6) for i = 1, 10 do redis.call('PUBLISH', 'c', m) end return 1", 0)
            with self.assertRaisesRegex(redis.ResponseError, "more memory than a script may"):
                pipe.execute()
            self.assertEqual(self.r.eval("return redis.call('PUBLISH', 'c', 'm')", 0), 1)
            self.assertEqual(listener.get_message(timeout=10)["data"], b"m")

    # The state of a thread was made anew after each call, with all libraries, when they keep much.
    def test_libraries_that_keep_much_are_loaded_once(self):
        self.r.function_flush()
        self.r.function_load("#!lua name=count\nlocal n = 0 redis.register_function('count', function() n = n + 1 return n end)")
        large = "#!lua name=large%d\nlocal t = {} for i = 1, 150000 do t[i] = {i} end redis.register_function('large%d', function() return #t end)"
        loaded = 0
        with self.assertRaisesRegex(redis.ResponseError, "keep too much in memory together"):
            for loaded in range(100):
                self.r.function_load(large % (loaded, loaded))
        self.assertGreater(loaded, 0)
        garbage = "local t = {} for i = 1, 5e4 do t[i] = {i} end return 1"
        self.assertEqual((self.r.eval(garbage, 0), self.r.fcall("large0", 0)), (1, 150000))
        first, begun = self.r.fcall("count", 0), time.monotonic()
        for i in range(30):
            self.assertEqual(self.r.fcall("count", 0), first + i + 1)
            self.r.eval(garbage, 0)
        self.assertLess(time.monotonic() - begun, 5)
        # Another library changes: the others keep what they have.
        self.r.function_load("#!lua name=other\nredis.register_function('other', function() return 1 end)")
        self.assertEqual((self.r.fcall("other", 0), self.r.fcall("count", 0)), (1, first + 31))
        self.r.function_flush()

    def test_commands_that_wait_do_not_in_a_script(self):
        self.r.rpush("l", "a")
        for words in (["BLPOP", "none", "0"], ["BRPOP", "none", "none2", "0"], ["BLMOVE", "none", "l", "LEFT", "LEFT", "0"],
                      ["BRPOPLPUSH", "none", "l", "0"], ["BLMPOP", "0", "1", "none", "LEFT"], ["BZPOPMIN", "none", "0"],
                      ["BZMPOP", "0", "1", "none", "MIN"], ["XREAD", "BLOCK", "0", "STREAMS", "none", "$"]):
            self.assertIsNone(self.r.eval("return redis.call(unpack(ARGV))", 0, *words), words)
        self.assertEqual(self.r.eval("return redis.call('BLPOP', 'none', 'l', 0)", 0), [b"l", b"a"])
        for words in (["BLPOP", "none", "x"], ["BLPOP", "none", "-1"]):
            with self.assertRaisesRegex(redis.ResponseError, "timeout is"):
                self.r.eval("return redis.call(unpack(ARGV))", 0, *words)

    def test_a_script_is_one_change_for_others(self):
        stop = threading.Event()

        def write():
            with self.server.redis() as r:
                while not stop.is_set():
                    r.eval("redis.call('INCR', 'a') redis.call('INCR', 'b')", 0)
        threads = [threading.Thread(target=write) for _ in range(3)]
        for t in threads:
            t.start()
        for _ in range(300):
            a, b = self.r.mget("a", "b")
            self.assertEqual(a, b)
        stop.set()
        for t in threads:
            t.join()

    def test_a_script_that_does_not_end_is_killed(self):
        self.assertLess(self.killed("while true do redis.call('GET', 'k') end"), 30)

    def test_a_dump_that_grows_is_not_unpacked(self):
        """Run after run of one byte: a megabyte is four hundred then."""
        runs = 15_000
        packed, whole = b"\0a" + b"\xe0\xff\0" * runs, 1 + 264 * runs
        library = b"\xf5\xc3\x81%b\x81%b%b" % (len(packed).to_bytes(8, "big"), whole.to_bytes(8, "big"), packed)
        for n, error in ((1, "Missing library metadata"), (20, "failed loading functions")):
            dump = library * n + (10).to_bytes(2, "little")
            with self.assertRaisesRegex(redis.ResponseError, error):
                self.r.execute_command("FUNCTION", "RESTORE", dump + crc64(dump).to_bytes(8, "little"))

    def test_functions_are_there_after_a_restart(self):
        self.r.function_flush()
        self.r.function_load("#!lua name=mine\nredis.register_function('add', function(k, a) return redis.call('INCRBY', k[1], a[1]) end)")
        self.assertEqual(self.r.fcall("add", 1, "n", 5), 5)
        self.r.execute_command("CONFIG", "SET", "appendfsync", "always")
        self.r.set("settled", 1)
        self.server.restart()
        self.r = self.server.redis()
        self.assertEqual(self.r.fcall("add", 1, "n", 5), 10)
        self.r.execute_command("CONFIG", "SET", "appendfsync", "always")
        self.r.function_delete("mine")
        self.r.set("settled", 2)
        self.server.restart()
        self.r = self.server.redis()
        with self.assertRaisesRegex(redis.ResponseError, "Function not found"):
            self.r.fcall("add", 1, "n", 5)


if __name__ == "__main__":
    unittest.main()
