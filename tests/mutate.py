#!/usr/bin/python3
"""Mutation run for the memory trees: break one rule of the source at a time, and demand that a unit
test fails. A mutation is a text that stands exactly once in its file, and what takes its place.
No emulator and few machines would show any of these.

usage: tests/mutate.py [-j JOBS] [BUILD_DIR] [NAME...]
"""
import concurrent.futures
import os
import subprocess
import sys
import time

SOURCES = ["hv/budget.c", "hv/frame.c", "hv/gmem.c", "hv/gmem_reap.c", "hv/tlb.c"]
TESTS = ["gmem_model", "gmem", "tlb", "frame", "budget"]  # the first to fail ends it
CC = os.environ.get("UNIT_CC", "clang")
FLAGS = ["-std=gnu11", "-g1", "-O1", "-w", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all"]
TIME_LIMIT = 60

# (name, file, text, replacement)
MUTATIONS = [
    # ---- what must be flushed on entry
    ("fast path: ignore the tree's generation", "hv/tlb.h", "guest->tlb_gen == tlb_gen && ", ""),
    ("fast path: ignore the tag generation", "hv/tlb.h",
     "guest->tag_generation == core->tag_generation &&\n", "\n"),
    ("fast path: ignore the core", "hv/tlb.h", "guest->core == core->index &&\n", "\n"),
    ("fast path: ignore the epoch", "hv/tlb.h",
     "core->flushed_epoch == __atomic_load_n(&core->host->epoch, __ATOMIC_SEQ_CST)", "true"),
    ("no flush when the tree has changed", "hv/tlb.c",
     "bool behind = guest->tlb_gen != tlb_gen;", "bool behind = false;"),
    ("no new tag on another core", "hv/tlb.c", "bool arrived = guest->core != core->index ||\n",
     "bool arrived =\n"),
    ("no new tag in a new generation", "hv/tlb.c",
     " ||\n\t\tguest->tag_generation != core->tag_generation;", ";"),
    ("no flush of the root on arrival", "hv/tlb.c", "(arrived || behind) && !new_root",
     "behind && !new_root"),
    ("no flush of a changed root", "hv/tlb.c", "(arrived || behind) && !new_root",
     "arrived && !new_root"),
    ("a root counts as new for ever", "hv/tlb.c", "root_gen > guest->tlb_gen", "root_gen != 0"),
    ("no flush of a changed tag", "hv/tlb.c",
     "return behind && !new_tag ? TLB_FLUSH_GUEST : TLB_KEEP;", "return TLB_KEEP;"),
    ("no new tag where a tag can't be flushed", "hv/tlb.c",
     "arrived || (behind && !caps->flush_by_tag)", "arrived"),
    ("no flush when tags run out", "hv/tlb.c",
     "if (new_tag && take_tag(core, guest))\n\t\tflush_all = true;",
     "if (new_tag)\n\t\ttake_tag(core, guest);"),
    ("no new generation when tags run out", "hv/tlb.c", "core->tag_generation++;", ""),
    ("all guests get one tag", "hv/tlb.c", "core->next_tag++", "core->next_tag"),
    ("an entry that failed is taken as flushed", "hv/tlb.c", "core->flushed_epoch = 0;\n}\n\nvoid tlb_epoch_end",
     "}\n\nvoid tlb_epoch_end"),
    # ---- epochs and quarantine
    ("a core behind the epoch does not flush", "hv/tlb.c", "bool flush_all = catch_up(core);",
     "bool flush_all = catch_up(core) && false;"),
    ("a promise is not kept", "hv/tlb.c", "if (!core->idle)\n\t\t__atomic_store_n(",
     "core->flushed_epoch = core->host->epoch;\n\tif (!core->idle)\n\t\t__atomic_store_n("),
    ("an idle core wakes without a flush", "hv/tlb.c", "core->flushed_epoch = core->idle_epoch;",
     "core->flushed_epoch = core->host->epoch;"),
    ("a core that wakes still counts as idle", "hv/tlb.c",
     "__atomic_exchange_n(&core->published_epoch, core->idle_epoch, __ATOMIC_SEQ_CST);", ""),
    ("cores are not waited for", "hv/tlb.c", "if (tlb_core_lags(&host->cores[i], epoch))", "if (0)"),
    ("an epoch passes before it ends", "hv/tlb.c",
     "if (__atomic_load_n(&host->epoch, __ATOMIC_SEQ_CST) <= epoch)", "if (0)"),
    ("quarantine does not wait", "hv/frame.c", "if (!tlb_epoch_passed(pool->tlb, q->epoch))",
     "if (0)"),
    ("freed frames skip quarantine", "hv/frame.c", "list_push(records, &fc->freed,",
     "list_push(records, &fc->dirty,"),
    ("freed frames go to the pool at once", "hv/frame.c",
     "\tspin_lock(&pool->lock);\n\tquarantine_add(pool, &fc->freed);\n\tspin_unlock(&pool->lock);\n}\n\nstatic void credit",
     "\tspin_lock(&pool->lock);\n\tlist_splice(pool, &pool->dirty, &fc->freed);\n\tspin_unlock(&pool->lock);\n}\n\nstatic void credit"),
    ("a full ring keeps the old epoch", "hv/frame.c", "\tq->epoch = epoch;",
     "\tif (!q->epoch)\n\t\tq->epoch = epoch;"),
    ("one core waits for itself", "hv/frame.c", "tlb_promise(&pool->tlb->cores[core]);", ""),
    ("a shortage ends no epoch", "hv/frame.c", "\t\ttlb_epoch_end(pool->tlb, epoch);\n\t\ttlb_promise",
     "\t\ttlb_promise"),
    # ---- sharing
    ("share leaves the root writable", "hv/gmem.c",
     "entry_store(entry, v & ~PT_WRITE);\n\t\t\t\tlowered = true;", "lowered = true;"),
    ("share tells no core", "hv/gmem.c", "if (protect_root(m))\n\t\tm->tlb_gen++;", "protect_root(m);"),
    ("a shared root counts as fresh", "hv/gmem.c", "if (m->root_gen)\n\t\tm->root_gen = 0;", ""),
    ("share takes no reference", "hv/gmem.c", "if (frame_get(m->pool, m->root))", "if (0)"),
    ("rollback tells no core", "hv/gmem.c", "fresh.tlb_gen = m->tlb_gen + 1;",
     "fresh.tlb_gen = m->tlb_gen;"),
    ("rollback drops nothing", "hv/gmem.c", "\tgmem_drop(m, core);\n\t*m = fresh;", "\t*m = fresh;"),
    # ---- copying
    ("the copy of a table stays writable", "hv/gmem.c", "to[i] = v & ~PT_WRITE;", "to[i] = v;"),
    ("the original of a table stays writable", "hv/gmem.c",
     "entry_store(&from[i], v & ~PT_WRITE);", ";"),
    ("the copy of a full table stays writable", "hv/gmem.c",
     "to[1] = b;", "to[1] = b | (any & PT_WRITE);"),
    ("the original of a full table stays writable", "hv/gmem.c",
     "entry_store(from + 1, b &= ~PT_WRITE);", "b &= ~PT_WRITE;"),
    ("empty entries of a copied table have old bytes", "hv/gmem.c",
     "\t\t\tto[0] = to[1] = to[2] = to[3] = 0;\n", ""),
    ("a copied table takes no references", "hv/gmem.c",
     "frame_get_child(&records[v >> PAGE_SHIFT]);", ";"),
    ("a copied table with gaps takes no references", "hv/gmem.c",
     "\t\tif (v)\n\t\t\tget_child(records, v);\n", ""),
    ("the last entry in use is not copied", "hv/gmem.c", "level_index(high, level) | 3);", "(level_index(high, level) | 3) - 4);"),
    ("a copied table tells no core", "hv/gmem.c",
     "m->tlb_gen++; /* what is cached may still go through the old table */", ""),
    ("a copied page tells no core", "hv/gmem.c",
     "m->tlb_gen++; /* another address may be cached with the old page */", ""),
    ("a shared root is written to", "hv/gmem.c", "if (frame_refs(m->pool, m->root) == 1)", "if (1)"),
    ("a shared table is written to", "hv/gmem.c", "if (frame_refs(m->pool, old) == 1) {", "if (1) {"),
    ("a shared page is written to", "hv/gmem.c", "if (frame_refs(m->pool, v) != 1)", "if (0)"),
    ("a fault that should not be is not flushed", "hv/gmem.c",
     "\tm->tlb_gen++;\n\tbump(&stats_of(m, core)->spurious);", "\tbump(&stats_of(m, core)->spurious);"),
    ("a new page has old bytes", "hv/gmem.c",
     "alloc(m, core, m->page_kind, FRAME_ZEROED, &page)", "alloc(m, core, m->page_kind, FRAME_OVERWRITE, &page)"),
    ("a new table has old bytes", "hv/gmem.c",
     "alloc(m, core, FRAME_TABLE, FRAME_ZEROED, out)", "alloc(m, core, FRAME_TABLE, FRAME_OVERWRITE, out)"),
    ("a zeroed frame isn't", "hv/frame.c", "\tif (fill == FRAME_ZEROED)\n\t\tmemset(", "\tif (0)\n\t\tmemset("),
    # ---- freeing
    ("the copied table's original is kept", "hv/gmem.c", "\tr->tables_copied++;\n\ttable_put(m, old, level);",
     "\tr->tables_copied++;"),
    ("the copied page's original is kept", "hv/gmem.c", "if (frame_put(m->pool, old))\n\t\tframe_free",
     "if (0)\n\t\tframe_free"),
    ("reaping frees what others use", "hv/frame.h", 
     "__atomic_load_n(&f->refs, __ATOMIC_ACQUIRE) == 1 ||", "f ||"),
    ("reaping forgets the table itself", "hv/gmem_reap.c", "frame_free_later(pool, core, place->table);", ""),
    ("a reference count wraps", "hv/frame.h", "__ATOMIC_RELAXED) >= FRAME_REFS_MAX", "__ATOMIC_RELAXED) > UINT32_MAX - 1"),
    # ---- charges
    ("a refused charge stays on the lower levels", "hv/budget.c", "uncharge_levels(from, b, kind, n);\n", ""),
    ("a freed frame is not credited", "hv/frame.c", "\t\tfc->credit_count++;", ""),
    ("an account never ends", "hv/budget.c", "account->pages == 0 && !account->owned;", "false;"),
    ("a move charges the common ancestor twice", "hv/budget.c", "*common = common_ancestor(old, budget);", "*common = NULL;"),
    ("an allocation that fails stays charged", "hv/frame.c", "\t\t\tif (account)\n\t\t\t\taccount_uncharge(pool, account, 1);\n", ""),
    ("the reserve is for everybody", "hv/frame.c", "return kind == FRAME_HOST && have ? 1 : 0;", "return have ? 1 : 0;"),
]


def sh(args, **kw):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def compile_one(src, obj, include):
    os.makedirs(os.path.dirname(obj), exist_ok=True)
    done = sh([CC, *FLAGS, *["-I" + i for i in include], "-c", src, "-o", obj])
    if done.returncode:
        sys.exit(f"{src}:\n{done.stdout.decode()}")


def test_objects(build, test, include, tree):
    """Objects of a test program itself; they include headers, which may be the mutated ones."""
    objs = []
    for src in ("tests/unit/test.c", f"tests/unit/{test}_test.c"):
        obj = os.path.join(build, tree, src + ".o")
        compile_one(src, obj, include)
        objs.append(obj)
    return objs


def run_tests(directory, objects_of, hv_objects):
    """The name of the first test program that fails, or None."""
    for test in TESTS:
        exe = os.path.join(directory, test + ".exe")
        link = sh([CC, *FLAGS, *objects_of(test), *hv_objects, "-o", exe, "-lpthread"])
        if link.returncode:
            sys.exit(link.stdout.decode())
        try:
            if sh([exe], timeout=TIME_LIMIT).returncode:
                return test
        except subprocess.TimeoutExpired:
            return test + " (hangs)"
    return None


def mutate(build, base, number, mutation):
    name, path, text, replacement = mutation
    source = open(path).read()
    if source.count(text) != 1:
        return name, path, f"the text stands {source.count(text)} times", False
    directory = os.path.join(build, f"m{number}")
    mutated = os.path.join(directory, path)
    os.makedirs(os.path.dirname(mutated), exist_ok=True)
    with open(mutated, "w") as f:
        f.write(source.replace(text, replacement))
    include = [directory, "."]
    if path.endswith(".h"):  # everything sees it: the mutated folder comes first in the search
        objects = {s: os.path.join(directory, s + ".o") for s in SOURCES}
        for s, obj in objects.items():
            compile_one(s, obj, include)
        failed = run_tests(directory, lambda t: test_objects(directory, t, include, "t"),
                           list(objects.values()))
    else:
        obj = os.path.join(directory, path + ".o")
        compile_one(mutated, obj, include)
        hv = [obj if s == path else base["hv"][s] for s in SOURCES]
        failed = run_tests(directory, lambda t: base["tests"][t], hv)
    return name, path, failed or "NO TEST FAILED", failed is not None


def main():
    args = sys.argv[1:]
    jobs = 2
    if args[:1] == ["-j"]:
        jobs, args = int(args[1]), args[2:]
    build = os.path.join(args[0] if args else "build", "mutate")
    wanted = args[1:]
    start = time.time()
    base = {"hv": {}, "tests": {}}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for s in SOURCES:
            base["hv"][s] = os.path.join(build, "base", s + ".o")
        list(pool.map(lambda s: compile_one(s, base["hv"][s], ["."]), SOURCES))
        for t, objs in zip(TESTS, pool.map(lambda t: test_objects(build, t, ["."], "base/" + t), TESTS)):
            base["tests"][t] = objs
        failed = run_tests(os.path.join(build, "base"), lambda t: base["tests"][t], list(base["hv"].values()))
        if failed:
            sys.exit(f"{failed} fails without any mutation")
        todo = [(i, m) for i, m in enumerate(MUTATIONS) if not wanted or any(w in m[0] for w in wanted)]
        missed = 0
        for name, path, result, good in pool.map(lambda im: mutate(build, base, *im), todo):
            print(f"{'caught' if good else 'MISSED':7} {path:17} {name:45} {result}", flush=True)
            missed += not good
    verdict = "FAIL" if missed or not todo else "ok"
    print(f"{verdict} mutations ({len(todo) - missed} of {len(todo)} caught, "
          f"{time.time() - start:.0f} s)")
    return 1 if missed or not todo else 0


if __name__ == "__main__":
    sys.exit(main())
