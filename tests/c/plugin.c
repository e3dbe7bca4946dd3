/* A plugin in C, against the generated header alone: answers at once, later, with an error, and calls a function. */
#include <stdlib.h>
#include <string.h>

#include "framex.h"

static const FramexHost *host;
static uint32_t demo;

static FramexSlice text(const char *bytes) {
    return (FramexSlice){(const uint8_t *)bytes, strlen(bytes)};
}

static void free_bytes(uint8_t *bytes, size_t len, size_t cap) {
    (void)len;
    (void)cap;
    free(bytes);
}

/* A buffer of this plugin's own memory. */
static FramexBuffer copy(const void *bytes, size_t len) {
    uint8_t *owned = malloc(len + 1);
    memcpy(owned, bytes, len);
    return (FramexBuffer){owned, len, len + 1, free_bytes};
}

/* Answers the map of its arguments. */
static int32_t echo(const void *function, const FramexCallContext *context, FramexSlice arguments,
                    const FramexWaker *waker, FramexBuffer *out, FramexFuture *future) {
    (void)function;
    (void)waker;
    (void)future;
    FramexLogRecord record = {
        .struct_size = sizeof record,
        .level = 3,
        .target = text("c"),
        .message = text("echo in C"),
        .fields = text("language=\"C\""),
        .invocation = context->invocation,
    };
    host->log(host->instance, &record);
    *out = copy(arguments.ptr, arguments.len);
    return FRAMEX_STATUS_OK;
}

/* The state of a call of `later`: how often it still suspends. */
typedef struct {
    int polls_left;
} Later;

static int32_t poll_later(void *state, const FramexWaker *waker, FramexBuffer *out) {
    Later *later = state;
    if (later->polls_left-- > 0) {
        waker->vtable->wake_by_ref(waker->data);
        return FRAMEX_STATUS_PENDING;
    }
    *out = copy("\xa5" "later", 6);
    return FRAMEX_STATUS_OK;
}

static void drop_later(void *state) {
    free(state);
}

/* Suspends three times, then answers "later". */
static int32_t later(const void *function, const FramexCallContext *context, FramexSlice arguments,
                     const FramexWaker *waker, FramexBuffer *out, FramexFuture *future) {
    (void)function;
    (void)context;
    (void)arguments;
    (void)out;
    Later *state = malloc(sizeof *state);
    state->polls_left = 2;
    *future = (FramexFuture){state, poll_later, drop_later};
    waker->vtable->wake_by_ref(waker->data);
    return FRAMEX_STATUS_PENDING;
}

/* Fails with a code of its own: the pointer that was registered. */
static int32_t fails(const void *function, const FramexCallContext *context, FramexSlice arguments,
                     const FramexWaker *waker, FramexBuffer *out, FramexFuture *future) {
    (void)context;
    (void)arguments;
    (void)waker;
    (void)future;
    static const char head[] = "\x85" "\xa4" "code" "\xa6" "failed" "\xa8" "executed" "\xc3" "\xa7" "message" "\xa5" "no C!"
                               "\xa7" "details" "\xc0" "\xa8" "app_code" "\xa6";
    char bytes[sizeof head - 1 + 6];
    memcpy(bytes, head, sizeof head - 1);
    memcpy(bytes + sizeof head - 1, function, 6);
    *out = copy(bytes, sizeof bytes);
    return FRAMEX_STATUS_ERR;
}

/* Passes its arguments on to the demo plugin, wherever that runs. */
static int32_t calls(const void *function, const FramexCallContext *context, FramexSlice arguments,
                     const FramexWaker *waker, FramexBuffer *out, FramexFuture *future) {
    (void)function;
    FramexBuffer handed_over = copy(arguments.ptr, arguments.len);
    return host->call(host->instance, context->invocation, demo, handed_over, NULL, waker, out, future);
}

typedef int32_t (*Call)(const void *, const FramexCallContext *, FramexSlice, const FramexWaker *, FramexBuffer *,
                        FramexFuture *);

static int32_t offer(const char *name, Call call, const void *function, FramexBuffer *error) {
    FramexRegistration registration = {
        .struct_size = sizeof registration,
        .flags = FRAMEX_FUNCTION_IDEMPOTENT,
        .name = text(name),
        .description = text("Written in C."),
        .timeout_ms = FRAMEX_NO_DEADLINE,
        .function = function,
        .call = call,
    };
    return host->register_(host->instance, &registration, error);
}

static int32_t on_start(const FramexHost *given, void **instance, FramexBuffer *error) {
    host = given;
    demo = host->resolve(host->instance, text("demo.some.example_func"));
    int32_t status = offer("tiny.echo", echo, NULL, error);
    if (status == FRAMEX_STATUS_OK) status = offer("tiny.later", later, NULL, error);
    if (status == FRAMEX_STATUS_OK) status = offer("tiny.fails", fails, "c_code", error);
    if (status == FRAMEX_STATUS_OK) status = offer("tiny.calls", calls, NULL, error);
    *instance = malloc(1);
    return status;
}

static int32_t on_stop(void *instance, FramexBuffer *error) {
    (void)error;
    FramexLogRecord record = {.struct_size = sizeof record, .level = 3, .target = text("c"), .message = text("C stops")};
    host->log(host->instance, &record);
    free(instance);
    return FRAMEX_STATUS_OK;
}

const FramexPluginDescriptor framex_plugin_v1 = {
    .magic = {'F', 'X', 'P', 'L', 'U', 'G', 'I', 'N'},
    .struct_size = sizeof(FramexPluginDescriptor),
    .abi_major = FRAMEX_ABI_MAJOR,
    .abi_minor = FRAMEX_ABI_MINOR,
    .flags = FRAMEX_FLAG_CONTAINS_PANICS,
    .name = "tiny",
    .version = "1.2.3",
    .built_with = "a C compiler",
    .on_start = on_start,
    .on_stop = on_stop,
};
