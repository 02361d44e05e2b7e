/* The rows say the same as the structs in mgmt/proto.h; tests/unit/mgmt_proto_test.c holds one
 * against the other. */
#include "mgmt/proto_fields.h"

/* clang-format off: rows, and macros that make rows */
#define FIELD(m, k)                                                                                \
	{                                                                                          \
#m, k, offsetof(MESSAGE, m), sizeof(((MESSAGE *)0)->m), 0, 0                       \
	}
#define NUMBER(m) RANGE(m, 0, (uint64_t)-1)
#define RANGE(m, min, max)                                                                         \
	{                                                                                          \
#m, FIELD_INTEGER, offsetof(MESSAGE, m), sizeof(((MESSAGE *)0)->m), min, max       \
	}
#define STRING(m) FIELD(m, FIELD_STRING)
#define NAME(m)   FIELD(m, FIELD_NAME)
#define BYTES(m)  FIELD(m, FIELD_BYTES)
#define REF(m)    FIELD(m, FIELD_REF)
#define BLOB(m)   FIELD(m, FIELD_BLOB)
#define FLAG(m)   RANGE(m, 0, 1)

#define CREATE_FLAGS_MAX 15
#define ATTACH_FLAGS_MAX 63

#define MESSAGE struct proto_data
static const struct proto_field data[] = {
	RANGE(stream, 0, PROTO_STREAM_COUNT - 1),
	FLAG(end),
	NUMBER(position),
	BLOB(bytes),
};
#undef MESSAGE
#define MESSAGE struct proto_credit
static const struct proto_field credit[] = {
	RANGE(stream, 0, PROTO_STREAM_COUNT - 1),
	RANGE(bytes, 1, PROTO_CREDIT_MAX),
};
#undef MESSAGE
#define MESSAGE struct proto_hello
static const struct proto_field hello[] = {
	RANGE(magic, PROTO_MAGIC, PROTO_MAGIC),
	NUMBER(version_min),
	NUMBER(version_max),
	NUMBER(capabilities),
	STRING(client),
};
#undef MESSAGE
#define MESSAGE struct proto_get_meters
static const struct proto_field get_meters[] = {FLAG(reset)};
#undef MESSAGE
#define MESSAGE struct proto_get_log
static const struct proto_field get_log[] = {
	NUMBER(position),
	FLAG(follow),
	RANGE(credit, 0, PROTO_CREDIT_MAX),
};
#undef MESSAGE
#define MESSAGE struct proto_put
static const struct proto_field put[] = {BYTES(key), NAME(name), NUMBER(size), BYTES(hash)};
#undef MESSAGE
#define MESSAGE struct proto_list
static const struct proto_field list[] = {
	NUMBER(after), NUMBER(max), NUMBER(lineage), FLAG(all), STRING(selector)};
#undef MESSAGE
#define MESSAGE struct proto_get
static const struct proto_field get[] = {REF(ref)};
#undef MESSAGE
#define MESSAGE struct proto_act
static const struct proto_field act[] = {BYTES(key), REF(ref)};
#undef MESSAGE
#define MESSAGE struct proto_create
static const struct proto_field create[] = {
	BYTES(key),
	REF(source),
	RANGE(count, 1, PROTO_COUNT_MAX),
	NUMBER(attach),
	RANGE(credit, 0, PROTO_CREDIT_MAX),
	NAME(name),
	NUMBER(memory),
	NUMBER(max_pages),
	NUMBER(max_guests),
	NUMBER(max_snapshots),
	NUMBER(weight),
	RANGE(flags, 0, CREATE_FLAGS_MAX),
	NUMBER(timeout_ns),
	STRING(labels),
	RANGE(argc, 0, PROTO_ARGS_MAX),
	RANGE(envc, 0, PROTO_ARGS_MAX),
	BLOB(args),
};
#undef MESSAGE
#define MESSAGE struct proto_take_snapshot
static const struct proto_field take_snapshot[] = {
	BYTES(key), REF(guest), NAME(name), FLAG(public), STRING(labels)};
#undef MESSAGE
#define MESSAGE struct proto_publish
static const struct proto_field publish[] = {BYTES(key), REF(ref), FLAG(public)};
#undef MESSAGE
#define MESSAGE struct proto_label
static const struct proto_field label[] = {BYTES(key), REF(ref), STRING(set), STRING(remove)};
#undef MESSAGE
#define MESSAGE struct proto_batch
static const struct proto_field batch[] = {
	BYTES(key), NUMBER(action), FLAG(force), STRING(selector), BLOB(refs)};
#undef MESSAGE
#define MESSAGE struct proto_rollback
static const struct proto_field rollback[] = {BYTES(key), REF(guest), REF(snapshot)};
#undef MESSAGE
#define MESSAGE struct proto_set_limit
static const struct proto_field set_limit[] = {
	BYTES(key),
	REF(guest),
	NUMBER(max_pages),
	NUMBER(max_guests),
	NUMBER(weight),
	NUMBER(timeout_ns),
	FLAG(timeout_running),
};
#undef MESSAGE
#define MESSAGE struct proto_attach
static const struct proto_field attach[] = {
	REF(guest),
	RANGE(flags, 0, ATTACH_FLAGS_MAX),
	NUMBER(out_position),
	NUMBER(err_position),
	RANGE(credit, 0, PROTO_CREDIT_MAX),
};
#undef MESSAGE
#define MESSAGE struct proto_agent
static const struct proto_field agent[] = {REF(guest), RANGE(credit, 0, PROTO_CREDIT_MAX)};
#undef MESSAGE
#define MESSAGE struct proto_welcome
static const struct proto_field welcome[] = {
	RANGE(magic, PROTO_MAGIC, PROTO_MAGIC),
	NUMBER(version),
	NUMBER(capabilities),
	NUMBER(boot_id[0]),
	NUMBER(boot_id[1]),
	NUMBER(frame_max),
	NUMBER(requests_max),
	STRING(host),
	STRING(client),
	NUMBER(role),
};
#undef MESSAGE
#define MESSAGE struct proto_error
static const struct proto_field error[] = {
	RANGE(code, 1, PROTO_CODE_COUNT - 1),
	NUMBER(retry_ms),
	STRING(text),
};
#undef MESSAGE
#define MESSAGE struct proto_done
static const struct proto_field done[] = {NUMBER(count), NUMBER(next)};
#undef MESSAGE
#define MESSAGE struct proto_result
static const struct proto_field result[] = {
	NUMBER(index),
	NUMBER(id),
	RANGE(code, 0, PROTO_CODE_COUNT - 1),
	STRING(text),
};
#undef MESSAGE
#define MESSAGE struct proto_info
static const struct proto_field info[] = {
	STRING(version),
	STRING(backend),
	STRING(cpu),
	NUMBER(boot_id[0]),
	NUMBER(boot_id[1]),
	NUMBER(cores),
	NUMBER(address),
	BYTES(mac),
	NUMBER(tsc_khz),
	NUMBER(uptime_ns),
	NUMBER(wall_ns),
	NUMBER(frames_total),
	NUMBER(frames_free),
	NUMBER(frames_quarantined),
	NUMBER(frames_reserve),
	NUMBER(frames_table),
	NUMBER(frames_data),
	NUMBER(frames_state),
	NUMBER(frames_stream),
	NUMBER(frames_image),
	NUMBER(frames_host),
	NUMBER(guests),
	NUMBER(guests_runnable),
	NUMBER(guests_waiting),
	NUMBER(guests_paused),
	NUMBER(guests_stopped),
	NUMBER(snapshots),
	NUMBER(images),
	NUMBER(connections),
	NUMBER(requests),
};
#undef MESSAGE
#define MESSAGE struct proto_meter
static const struct proto_field meter[] = {
	STRING(name),
	NUMBER(count),
	NUMBER(ticks),
	NUMBER(last),
	NUMBER(min),
	NUMBER(max),
};
#undef MESSAGE
#define MESSAGE struct proto_upload
static const struct proto_field upload[] = {
	NUMBER(id),
	NUMBER(offset),
	RANGE(credit, 1, PROTO_CREDIT_MAX),
};
#undef MESSAGE
#define MESSAGE struct proto_image
static const struct proto_field image[] = {
	NUMBER(id),
	STRING(name),
	STRING(owner),
	NUMBER(size),
	NUMBER(memory),
	NUMBER(pages),
	NUMBER(created_ns),
	FLAG(public),
	FLAG(upload),
	NUMBER(received),
};
#undef MESSAGE
#define MESSAGE struct proto_guest
static const struct proto_field guest[] = {
	NUMBER(id),
	NUMBER(parent),
	NUMBER(lineage),
	NUMBER(image),
	STRING(name),
	STRING(owner),
	NUMBER(state),
	NUMBER(stop),
	NUMBER(exit_status),
	STRING(reason),
	NUMBER(generation),
	NUMBER(memory),
	NUMBER(private_pages),
	NUMBER(max_pages),
	NUMBER(budget_pages),
	NUMBER(weight),
	NUMBER(cpu_ns),
	NUMBER(created_ns),
	NUMBER(exits),
	NUMBER(faults),
	NUMBER(forks),
	NUMBER(children),
	NUMBER(bytes_in),
	NUMBER(bytes_out),
	NUMBER(bytes_err),
	NUMBER(timeout_ns),
	NUMBER(deadline_ns),
	FLAG(timeout_running),
	STRING(labels),
};
#undef MESSAGE
#define MESSAGE struct proto_snapshot
static const struct proto_field snapshot[] = {
	NUMBER(id),
	NUMBER(parent),
	NUMBER(lineage),
	NUMBER(image),
	STRING(name),
	STRING(owner),
	NUMBER(pages),
	NUMBER(forks),
	NUMBER(created_ns),
	FLAG(public),
	STRING(labels),
};
#undef MESSAGE
#define MESSAGE struct proto_figure
static const struct proto_field figure[] = {
	STRING(name),
	STRING(of),
	NUMBER(below_us),
	NUMBER(value),
};
#undef MESSAGE
#define MESSAGE struct proto_status
static const struct proto_field status[] = {
	NUMBER(id),
	NUMBER(state),
	NUMBER(stop),
	NUMBER(exit_status),
	STRING(reason),
};
#undef MESSAGE

#define MESSAGE struct proto_get_audit
static const struct proto_field get_audit[] = {NUMBER(after), FLAG(follow)};
#undef MESSAGE
#define MESSAGE struct proto_host_power
static const struct proto_field host_power[] = {
	RANGE(action, PROTO_POWER_REBOOT, PROTO_POWER_OFF)};
#undef MESSAGE
#define MESSAGE struct proto_audit
static const struct proto_field audit[] = {
	NUMBER(seq),
	NUMBER(wall_ns),
	STRING(client),
	NUMBER(role),
	NUMBER(address),
	STRING(action),
	STRING(object),
	RANGE(code, 0, PROTO_CODE_COUNT - 1),
	NUMBER(made),
	NUMBER(count),
};
#undef MESSAGE
#define MESSAGE struct proto_get_events
static const struct proto_field get_events[] = {STRING(selector)};
#undef MESSAGE
#define MESSAGE struct proto_event
static const struct proto_field event[] = {
	NUMBER(time_ns),
	NUMBER(lost),
	RANGE(what, 0, PROTO_EVENT_ROLLED_BACK),
	RANGE(kind, 0, PROTO_KIND_IMAGE),
	NUMBER(id),
	NUMBER(parent),
	STRING(name),
	STRING(owner),
	NUMBER(state),
	NUMBER(stop),
	NUMBER(exit_status),
	STRING(reason),
	STRING(labels),
};
#undef MESSAGE

#define ROW(type, t) [PROTO_##type] = {#type, t, ARRAY_SIZE(t), sizeof(struct proto_##t)}
#define EMPTY(type)  [PROTO_##type] = {#type, NULL, 0, 0}

static const struct proto_layout layouts[] = {
	ROW(DATA, data),
	ROW(CREDIT, credit),
	ROW(HELLO, hello),
	EMPTY(CANCEL),
	EMPTY(GET_INFO),
	ROW(GET_METERS, get_meters),
	ROW(GET_LOG, get_log),
	ROW(GET_AUDIT, get_audit),
	ROW(HOST_POWER, host_power),
	EMPTY(GET_FIGURES),
	ROW(PUT, put),
	EMPTY(PUT_COMMIT),
	ROW(LIST_IMAGES, list),
	ROW(REMOVE_IMAGE, act),
	ROW(RUN, create),
	ROW(FORK, create),
	ROW(TAKE_SNAPSHOT, take_snapshot),
	ROW(ROLLBACK, rollback),
	ROW(PAUSE, act),
	ROW(RESUME, act),
	ROW(KILL, act),
	ROW(REMOVE, act),
	ROW(SET_LIMIT, set_limit),
	ROW(PUBLISH, publish),
	ROW(LABEL, label),
	ROW(BATCH, batch),
	ROW(LIST_GUESTS, list),
	ROW(LIST_SNAPSHOTS, list),
	ROW(GET, get),
	ROW(ATTACH, attach),
	ROW(WAIT, get),
	ROW(AGENT, agent),
	ROW(WELCOME, welcome),
	ROW(ERROR, error),
	ROW(DONE, done),
	ROW(RESULT, result),
	ROW(INFO, info),
	ROW(METER, meter),
	ROW(FIGURE, figure),
	ROW(UPLOAD, upload),
	ROW(IMAGE, image),
	ROW(GUEST, guest),
	ROW(SNAPSHOT, snapshot),
	ROW(STATUS, status),
	ROW(AUDIT, audit),
	ROW(GET_EVENTS, get_events),
	ROW(EVENT, event),
};

/* clang-format on */
const struct proto_layout *proto_layout(uint16_t type)
{
	return type < ARRAY_SIZE(layouts) && layouts[type].name ? &layouts[type] : NULL;
}
