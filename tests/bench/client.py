"""libcreel by ctypes (mgmt/client/creel.h), on a connection that stays: what is measured has no handshake
in it, and a recording doesn't either."""
import ctypes
import os


class Failed(Exception):
    pass


def fields(kind, names):
    return [(n, kind) for n in names.split()]


class Info(ctypes.Structure):
    _fields_ = [("version", ctypes.c_char * 32), ("backend", ctypes.c_char * 16),
                ("cpu", ctypes.c_char * 64), ("boot_id", ctypes.c_uint64 * 2),
                ("cores", ctypes.c_uint32), ("address", ctypes.c_uint32),
                ("mac", ctypes.c_uint8 * 6)] + \
        fields(ctypes.c_uint64, "tsc_khz uptime_ns wall_ns total free quarantined reserve table data "
                                "state stream image host guests runnable waiting paused stopped "
                                "snapshots images") + \
        fields(ctypes.c_uint32, "connections requests")


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
