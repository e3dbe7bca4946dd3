/* The binary interface between framex-host and its plugins, version 1.
 *
 * Generated from plugin-sdk/abi/src: `WRITE_ABI_HEADER=1 cargo test -p framex-tests abi_header_is_current`.
 * The rules that hold for all of it are in plugin-sdk/abi/src/lib.rs; tests/c/plugin.c is an example.
 */

#ifndef FRAMEX_H
#define FRAMEX_H

#include <stddef.h>
#include <stdint.h>

/**
 * Raised when something that exists changes; a plugin must have the host's.
 */
#define FRAMEX_ABI_MAJOR 1

/**
 * Raised when something is appended; a plugin may have the host's or an older one.
 */
#define FRAMEX_ABI_MINOR 1

/**
 * Descriptor flag: the plugin catches its panics at every entry, or has none (built with `panic = "unwind"`, or C).
 */
#define FRAMEX_FLAG_CONTAINS_PANICS 1

/**
 * The call has not ended; the waker will be woken.
 */
#define FRAMEX_STATUS_PENDING 0

/**
 * It ended; the out buffer holds the MessagePack result.
 */
#define FRAMEX_STATUS_OK 1

/**
 * It failed; the out buffer holds a MessagePack map:
 * `code`, `message`, `executed`, `app_code`, `details` (as the failure in a sealed response).
 */
#define FRAMEX_STATUS_ERR 2

/**
 * It panicked; the out buffer holds the message as UTF-8 text.
 */
#define FRAMEX_STATUS_PANIC 3

/**
 * A deadline that never comes.
 */
#define FRAMEX_NO_DEADLINE UINT64_MAX

/**
 * Returned by [`Host::resolve`] for text that is not a valid function name.
 */
#define FRAMEX_NO_FUNCTION 0

/**
 * Registration flag: running the function twice does no harm.
 */
#define FRAMEX_FUNCTION_IDEMPOTENT 1

/**
 * Not decided: ask the host.
 */
#define FRAMEX_ROUTE_UNKNOWN 0

/**
 * The body runs here: a call inside the owning plugin is a plain call.
 */
#define FRAMEX_ROUTE_HERE 1

/**
 * The call goes through the host.
 */
#define FRAMEX_ROUTE_ELSEWHERE 2

/**
 * Borrowed bytes. `ptr` may be null only where `len` is 0.
 */
typedef struct FramexSlice {
    /**
     * First byte.
     */
    const uint8_t *ptr;
    /**
     * Length in bytes.
     */
    size_t len;
} FramexSlice;

/**
 * The call that a function serves. Borrowed for the length of `call`; values that [`Host::describe`] fills in are
 * valid as long as the handle that it was asked for.
 */
typedef struct FramexCallContext {
    /**
     * Bytes of this struct that are valid.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t flags;
    /**
     * The host's handle of this invocation, valid until the call's future is dropped;
     * `retain` it to keep it longer. Passed on with nested calls, so that deadline, hops and trace go along.
     */
    const void *invocation;
    /**
     * Milliseconds left, or [`NO_DEADLINE`].
     */
    uint64_t remaining_ms;
    /**
     * Names the call in logs and responses.
     */
    uint8_t request_id[16];
    /**
     * Name of the caller of the host's config that made the call; empty where there is none.
     */
    struct FramexSlice caller;
    /**
     * W3C `traceparent`; empty where there is none.
     */
    struct FramexSlice traceparent;
    /**
     * Idempotency key; empty where there is none.
     */
    struct FramexSlice idempotency_key;
} FramexCallContext;

/**
 * The functions of a waker. They may be called from any thread.
 */
typedef struct FramexWakerVtable {
    /**
     * Makes another handle to the same task.
     */
    struct FramexWaker (*clone)(const void *data);
    /**
     * Wakes and consumes.
     */
    void (*wake)(const void *data);
    /**
     * Wakes.
     */
    void (*wake_by_ref)(const void *data);
    /**
     * Lets go of the handle.
     */
    void (*drop)(const void *data);
} FramexWakerVtable;

/**
 * A handle to a task of the other side. A waker that was passed by pointer is borrowed: clone it to keep it.
 */
typedef struct FramexWaker {
    /**
     * For the table's functions only.
     */
    const void *data;
    /**
     * The functions; lives as long as the waker.
     */
    const struct FramexWakerVtable *vtable;
} FramexWaker;

/**
 * Owned bytes, freed by the side that made them.
 *
 * `cap` belongs to `free` alone: a receiver hands it back as it is and reads nothing into it.
 */
typedef struct FramexBuffer {
    /**
     * First byte; null for an empty buffer that needs no freeing.
     */
    uint8_t *ptr;
    /**
     * Length in bytes.
     */
    size_t len;
    /**
     * For `free` only.
     */
    size_t cap;
    /**
     * Frees the buffer: `free(ptr, len, cap)`. Null: nothing to free.
     */
    void (*free)(uint8_t*, size_t, size_t);
} FramexBuffer;

/**
 * A call that suspended.
 *
 * The receiver polls it until it returns something other than [`STATUS_PENDING`], never after, and drops it once.
 * Dropping it earlier is cancellation. It may move between threads; it is polled by one at a time.
 */
typedef struct FramexFuture {
    /**
     * For `poll` and `drop` only.
     */
    void *state;
    /**
     * Polls: returns a status, and fills `out` for all but pending.
     */
    int32_t (*poll)(void *state, const struct FramexWaker *waker, struct FramexBuffer *out);
    /**
     * Frees the state. Never unwinds.
     */
    void (*drop)(void *state);
} FramexFuture;

/**
 * The route of calls from inside the owning plugin; the host writes `route`, the plugin counts `calls`.
 */
typedef struct FramexRouteCell {
    /**
     * One of the `ROUTE_` constants.
     */
    uint32_t route;
    /**
     * Failures of layers of the function, counted by the plugin; zero before ABI 1.1.
     */
    uint32_t layer_failures;
    /**
     * Calls that ran here without passing through the host.
     */
    uint64_t calls;
} FramexRouteCell;

/**
 * One function that a plugin offers. The host copies the texts during `register`.
 */
typedef struct FramexRegistration {
    /**
     * Bytes of this struct that are valid.
     */
    uint32_t struct_size;
    /**
     * `FUNCTION_` flags.
     */
    uint32_t flags;
    /**
     * `[A-Za-z0-9_.-]`, 1 to 255 bytes, no empty part between dots.
     */
    struct FramexSlice name;
    /**
     * For people; the first lines of the doc comment.
     */
    struct FramexSlice description;
    /**
     * JSON Schema of the named arguments, an object; empty: unknown.
     */
    struct FramexSlice arguments_schema;
    /**
     * JSON Schema of the result; empty: unknown.
     */
    struct FramexSlice result_schema;
    /**
     * Milliseconds that one call may take, or [`NO_DEADLINE`] for the host's default.
     */
    uint64_t timeout_ms;
    /**
     * Calls at one time, through the host; 0: the host's limit alone.
     */
    uint32_t max_concurrency;
    /**
     * Calls that wait while `max_concurrency` calls run; zero before ABI 1.1. Without `max_concurrency`, nothing waits.
     */
    uint32_t max_queue;
    /**
     * Passed to `call` as it is.
     */
    const void *function;
    /**
     * Calls the function with a MessagePack map of named arguments, which stay valid until the future is dropped.
     *
     * Returns a status; for pending, `future` is filled in, otherwise `out` is.
     */
    int32_t (*call)(const void *function,
                    const struct FramexCallContext *context,
                    struct FramexSlice arguments,
                    const struct FramexWaker *waker,
                    struct FramexBuffer *out,
                    struct FramexFuture *future);
    /**
     * The route cell of the function, which lives as long as the plugin is mapped; null: none.
     */
    const struct FramexRouteCell *route;
} FramexRegistration;

/**
 * Options of a call that a plugin makes. A null pointer means the defaults.
 */
typedef struct FramexCallOptions {
    /**
     * Bytes of this struct that are valid.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t flags;
    /**
     * Timeout in milliseconds, or [`NO_DEADLINE`]; the deadline of the invocation holds as well.
     */
    uint64_t timeout_ms;
    /**
     * Makes a repeat of the call safe; empty: none.
     */
    struct FramexSlice idempotency_key;
} FramexCallOptions;

/**
 * One line of a plugin's log. Borrowed for the length of `log`.
 */
typedef struct FramexLogRecord {
    /**
     * Bytes of this struct that are valid.
     */
    uint32_t struct_size;
    /**
     * 1 error, 2 warn, 3 info, 4 debug, 5 trace.
     */
    uint32_t level;
    /**
     * Module that logs.
     */
    struct FramexSlice target;
    /**
     * The message.
     */
    struct FramexSlice message;
    /**
     * Other fields, as text: `rows=3 table="flights"`.
     */
    struct FramexSlice fields;
    /**
     * The invocation that it belongs to, or null.
     */
    const void *invocation;
} FramexLogRecord;

/**
 * The host's table, handed to `on_start`. It lives as long as the plugin is mapped.
 *
 * Every function takes `instance` first, and may be called from any thread unless its doc says otherwise.
 */
typedef struct FramexHost {
    /**
     * Bytes of this struct that are valid.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t flags;
    /**
     * The plugin's handle at the host.
     */
    const void *instance;
    /**
     * Number of this loaded version of the plugin.
     */
    uint64_t generation;
    /**
     * Id of the host.
     */
    struct FramexSlice host_id;
    /**
     * `[plugins.NAME]` of the config as a JSON object. Valid during `on_start` only.
     */
    struct FramexSlice config;
    /**
     * Registers a function; legal during `on_start` only. On [`crate::STATUS_ERR`], `error` holds the reason as text.
     */
    int32_t (*register_)(const void *instance,
                         const struct FramexRegistration *registration,
                         struct FramexBuffer *error);
    /**
     * Turns a name into a number that stays valid for the life of the host, or [`NO_FUNCTION`].
     */
    uint32_t (*resolve)(const void *instance, struct FramexSlice name);
    /**
     * Calls a function, here or on a peer. `invocation` is the one being served, or null outside of any.
     *
     * The host takes `arguments` over. Statuses as in [`Registration::call`].
     */
    int32_t (*call)(const void *instance,
                    const void *invocation,
                    uint32_t function,
                    struct FramexBuffer arguments,
                    const struct FramexCallOptions *options,
                    const struct FramexWaker *waker,
                    struct FramexBuffer *out,
                    struct FramexFuture *future);
    /**
     * Keeps an invocation handle valid until `release`.
     */
    void (*retain)(const void *invocation);
    /**
     * Ends what `retain` began.
     */
    void (*release)(const void *invocation);
    /**
     * Most verbose level that is written at present, 0 (none) to 5 (trace).
     */
    uint32_t (*log_level)(const void *instance);
    /**
     * Writes one line to the host's log.
     */
    void (*log)(const void *instance, const struct FramexLogRecord *record);
    /**
     * Describes an invocation, not null, at this moment. `context` has its `struct_size` filled in, and gets what that
     * covers. Since ABI 1.1.
     */
    int32_t (*describe)(const void *invocation, struct FramexCallContext *context);
} FramexHost;

/**
 * The exported static of a plugin. Plain values and no pointer but the two functions,
 * so that it can be read from the file without running anything of it.
 */
typedef struct FramexPluginDescriptor {
    /**
     * [`MAGIC`].
     */
    uint8_t magic[8];
    /**
     * Bytes of this struct that are valid.
     */
    uint32_t struct_size;
    /**
     * [`ABI_MAJOR`] that the plugin was built against.
     */
    uint16_t abi_major;
    /**
     * [`ABI_MINOR`] that the plugin was built against.
     */
    uint16_t abi_minor;
    /**
     * `FLAG_` bits.
     */
    uint64_t flags;
    /**
     * Name of the plugin, UTF-8 padded with zeros: `[a-z0-9_-]`.
     */
    uint8_t name[64];
    /**
     * Version of the plugin, padded with zeros.
     */
    uint8_t version[32];
    /**
     * The SDK and the compiler that built it, as text for people, padded with zeros.
     */
    uint8_t built_with[64];
    /**
     * Starts the plugin: registers functions through `host`, fills `instance`.
     *
     * Called once, on a thread of its own. Returns [`crate::STATUS_OK`], or another status with the reason
     * as UTF-8 text in `error`.
     */
    int32_t (*on_start)(const struct FramexHost *host, void **instance, struct FramexBuffer *error);
    /**
     * Stops what `on_start` made, also a failed start that filled `instance`.
     *
     * Called once, on a thread of its own, after the last call ended.
     */
    int32_t (*on_stop)(void *instance, struct FramexBuffer *error);
} FramexPluginDescriptor;

#endif  /* FRAMEX_H */

/** What a plugin defines and exports. */
#ifdef __cplusplus
extern "C" {
#endif
extern const FramexPluginDescriptor framex_plugin_v1;
#ifdef __cplusplus
}
#endif
