"""libcreel by ctypes (mgmt/client/creel.h), on a connection that stays: what is measured has no handshake
in it, and a recording doesn't either."""
import ctypes
import os


class Failed(Exception):
    pass


def fields(kind, names):
    return [(n, kind) for n in names.split()]


OUTPUT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p,
                          ctypes.c_size_t)


# What the library fills or reads ends with room for what it may come to know of ("rest").
class Info(ctypes.Structure):
    _fields_ = [("version", ctypes.c_char * 32), ("backend", ctypes.c_char * 16),
                ("cpu", ctypes.c_char * 64), ("boot_id", ctypes.c_uint64 * 2),
                ("cores", ctypes.c_uint32), ("address", ctypes.c_uint32),
                ("mac", ctypes.c_uint8 * 6)] + \
        fields(ctypes.c_uint64, "tsc_khz uptime_ns wall_ns total free quarantined reserve table data "
                                "state stream image host guests runnable waiting paused stopped "
                                "snapshots images") + \
        fields(ctypes.c_uint32, "connections requests") + [("rest", ctypes.c_uint8 * 256)]


class Meter(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 64)] + fields(ctypes.c_uint64, "count ticks last min max")


class Options(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p)] + \
        fields(ctypes.c_uint64, "memory max_pages max_guests max_snapshots") + \
        [("weight", ctypes.c_uint32), ("timeout_ns", ctypes.c_uint64),
         ("timeout_running", ctypes.c_bool), ("labels", ctypes.c_char_p), ("paused", ctypes.c_bool),
         ("rest", ctypes.c_uint8 * 256)]


class Result(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint32), ("id", ctypes.c_uint64)]


class Exec(ctypes.Structure):
    _fields_ = [("argv", ctypes.POINTER(ctypes.c_char_p)), ("env", ctypes.c_void_p),
                ("cwd", ctypes.c_char_p), ("as_user", ctypes.c_bool), ("uid", ctypes.c_uint32),
                ("gid", ctypes.c_uint32), ("tty", ctypes.c_bool), ("rows", ctypes.c_uint16),
                ("columns", ctypes.c_uint16), ("builtin", ctypes.c_bool), ("input_fd", ctypes.c_int),
                ("output", OUTPUT), ("event", ctypes.c_void_p), ("arg", ctypes.c_void_p),
                ("start_ms", ctypes.c_uint32), ("cancel", ctypes.c_void_p),
                ("user", ctypes.c_char_p), ("rest", ctypes.c_uint8 * 256)]


EACH_METER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Meter))
EACH_RESULT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Result))


class Connection:
    def __init__(self, library, environment):
        os.environ.update({k: v for k, v in environment.items() if os.environ.get(k) != v})
        self.creel = ctypes.CDLL(library)
        self.creel.creel_new.restype = ctypes.c_void_p
        self.creel.creel_error_text.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p(self.creel.creel_new())
        self._check(self.creel.creel_open(self.handle, None, 60000))

    def _check(self, code):
        if code:
            raise Failed(self.creel.creel_error_text(self.handle).decode())

    def close(self):
        self.creel.creel_free(self.handle)

    def meters(self):
        found = {}

        @EACH_METER
        def each(_, m):
            found[m.contents.name.decode()] = \
                {n: getattr(m.contents, n) for n, _ in Meter._fields_ if n != "name"}
            return 0
        self._check(self.creel.creel_meters(self.handle, False, each, None))
        return found

    def stats(self):
        """As "creelctl --json stats" has them."""
        info = Info()
        self._check(self.creel.creel_get_info(self.handle, ctypes.byref(info)))
        return {
            "frames": {n: getattr(info, n) for n in ("total", "free", "quarantined", "reserve", "table",
                                                     "data", "state", "stream", "image", "host")},
            "guests": {"all": info.guests, "running": info.runnable, "waiting": info.waiting,
                       "paused": info.paused, "stopped": info.stopped},
            "meters": self.meters(),
        }

    def fork(self, source, count=1, paused=True):
        ids, options = [], Options(paused=paused)

        @EACH_RESULT
        def each(_, r):
            ids.append(r.contents.id)
            return 0
        self._check(self.creel.creel_fork(self.handle, source.encode(), ctypes.byref(options), count,
                                          each, None, None))
        return ids

    def snapshot(self, guest):
        made = ctypes.c_uint64()
        self._check(self.creel.creel_take_snapshot(self.handle, guest.encode(), None,
                                                   ctypes.c_bool(False), ctypes.byref(made)))
        return made.value

    def rollback(self, guest, snapshot):
        self._check(self.creel.creel_rollback(self.handle, guest.encode(), str(snapshot).encode()))

    def kill(self, guest):
        self._check(self.creel.creel_kill(self.handle, str(guest).encode()))

    def exec(self, guest, argv, input_fd=-1, came=None, start_seconds=60):
        """What a command in a Linux guest writes. came(): asked at each output, true ends the call."""
        words = (ctypes.c_char_p * (len(argv) + 1))(*(w.encode() for w in argv))
        status, written, left = (ctypes.c_int * 3)(), [], []

        @OUTPUT
        def output(_, stream, data, size):
            written.append(ctypes.string_at(data, size))
            left.append(bool(came and came()))
            return left[-1]
        run = Exec(argv=words, input_fd=input_fd, output=output, start_ms=start_seconds * 1000)
        code = self.creel.creel_exec(self.handle, str(guest).encode(), ctypes.byref(run), status)
        if not any(left):
            self._check(code)
        return b"".join(written).decode()
