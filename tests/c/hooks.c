/* A plugin that hooks itself into the process: at its start as [plugins.NAME] does = ["..."] says, while it is mapped
   where it is compiled to, and in calls by their name. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "framex.h"

#ifndef NAME
#define NAME "native"
#endif

#ifndef TIMEOUT_MS
#define TIMEOUT_MS FRAMEX_NO_DEADLINE
#endif

#ifdef LIKE_AN_ALLOCATOR
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;
#endif

static const FramexHost *host;
static char stack[1 << 16];
static pthread_key_t many[400];
static volatile sig_atomic_t handled;

static FramexSlice text(const char *bytes) {
    return (FramexSlice){(const uint8_t *)bytes, strlen(bytes)};
}

static void free_bytes(uint8_t *bytes, size_t len, size_t cap) {
    (void)len;
    (void)cap;
    free(bytes);
}

/* A short string as MessagePack. */
static FramexBuffer answer(const char *bytes) {
    size_t len = strlen(bytes);
    uint8_t *owned = malloc(len + 1);
    owned[0] = (uint8_t)(0xa0 + len);
    memcpy(owned + 1, bytes, len);
    return (FramexBuffer){owned, len + 1, len + 1, free_bytes};
}

static int is(const char *word) {
    size_t len = strlen(word);
    for (size_t at = 0; at + len + 2 <= host->config.len; at++) {
        const char *found = (const char *)host->config.ptr + at;
        if (found[0] == '"' && memcmp(found + 1, word, len) == 0 && found[len + 1] == '"') return 1;
    }
    return 0;
}

static void handler(int signal) {
    (void)signal;
    handled++;
}

static void destroy(void *value) {
    (*(int *)value)++;
}

static void at_exit(void) {
    handled++;
}

static void on_exit_called(int status, void *argument) {
    (void)status;
    (void)argument;
    handled++;
}

static void fired(union sigval value) {
    (void)value;
    handled++;
}

static void install(int signal) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(signal, &action, NULL);
}

/* Past the C library, as runtimes of other languages do. */
static void install_by_system_call(int signal) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action;
    struct sigaction known;
    /* What the C library has set for another signal has its restorer. */
    install(SIGUSR2);
    syscall(SYS_rt_sigaction, SIGUSR2, NULL, &action, 8);
    action.handler = handler;
    syscall(SYS_rt_sigaction, signal, &action, NULL, 8);
    memset(&known, 0, sizeof known);
    known.sa_handler = SIG_DFL;
    sigaction(SIGUSR2, &known, NULL);
}

static void start_timer(void) {
    static timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = fired};
    struct itimerspec every = {.it_value = {.tv_nsec = 20000000}, .it_interval = {.tv_nsec = 20000000}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) timer_settime(timer, 0, &every, NULL);
}

#ifdef LIKE_AN_ALLOCATOR
static pthread_key_t key;

static void use_thread(void) {
    static _Thread_local int value;
    if (pthread_getspecific(key) == NULL) {
        pthread_setspecific(key, &value);
        __cxa_thread_atexit_impl(destroy, &value, &__dso_handle);
    }
}

/* As jemalloc does: a key while it is being mapped, with a value for the thread that maps. */
__attribute__((constructor)) static void begin(void) {
    pthread_key_create(&key, destroy);
    use_thread();
}
#endif

#ifdef WHILE_MAPPED
__attribute__((constructor)) static void take_over(void) {
    install(SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    umask(0);
}
#endif

#define CALL(name) \
    static int32_t name(const void *function, const FramexCallContext *context, FramexSlice arguments, \
                        const FramexWaker *waker, FramexBuffer *out, FramexFuture *future)
#define UNUSED (void)function, (void)context, (void)arguments, (void)waker, (void)future

CALL(works) {
    UNUSED;
#ifdef LIKE_AN_ALLOCATOR
    use_thread();
#endif
    *out = answer("works");
    return FRAMEX_STATUS_OK;
}

/* Says whether its handler was called. */
CALL(was_handled) {
    UNUSED;
    *out = answer(handled > 0 ? "yes" : "no");
    return FRAMEX_STATUS_OK;
}

CALL(takes_over) {
    UNUSED;
    install(SIGTERM);
    install(SIGUSR1);
    signal(SIGHUP, SIG_IGN);
    *out = answer("done");
    return FRAMEX_STATUS_OK;
}

/* Leaves this thread without any signal, and with a stack for handlers that lies in this library. */
CALL(changes_thread) {
    UNUSED;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, NULL);
    *out = answer("done");
    return FRAMEX_STATUS_OK;
}

/* Says whether this thread has a stack of that size. */
CALL(has_that_stack) {
    UNUSED;
    stack_t now;
    sigaltstack(NULL, &now);
    *out = answer(now.ss_size == sizeof stack ? "yes" : "no");
    return FRAMEX_STATUS_OK;
}

CALL(reads_variables) {
    UNUSED;
    size_t found = 0;
    for (int round = 0; round < 100000; round++) found += getenv("NOT_THERE") != NULL;
    *out = answer(found == 0 ? "read" : "?");
    return FRAMEX_STATUS_OK;
}

/* More and more of them, so that the table grows. */
CALL(sets_variables) {
    UNUSED;
    static int number;
    char name[32] = "SET_IN_C_        ", string[] = "PUT_IN_C=1";
    for (int round = 0; round < 1000; round++) {
        int rest = number++;
        for (int digit = 0; digit < 8; digit++, rest /= 10) name[9 + digit] = (char)('0' + rest % 10);
        if (setenv(name, "value", 1) != 0) return FRAMEX_STATUS_PANIC;
    }
    putenv(string);
    memset(string, '!', sizeof string);
    *out = answer(strcmp(getenv("PUT_IN_C"), "1") == 0 ? "set" : "?");
    return FRAMEX_STATUS_OK;
}

/* Until the file of the variable GATE is there, and 200 ms at least. */
CALL(sleeps) {
    UNUSED;
    usleep(200000);
    while (access(getenv("GATE"), F_OK) != 0) usleep(1000);
    *out = answer("slept");
    return FRAMEX_STATUS_OK;
}

CALL(exits) {
    UNUSED;
    (void)out;
    exit(0);
}

CALL(exits_quickly) {
    UNUSED;
    (void)out;
    quick_exit(0);
}

CALL(exits_at_once) {
    UNUSED;
    (void)out;
    _exit(0);
}

CALL(exits_with_256) {
    UNUSED;
    (void)out;
    exit(256);
}

/* Says how a child ends that calls exit(0), and one that calls _exit(7). */
CALL(forks) {
    UNUSED;
    int first = -1, second = -1;
    pid_t child = fork();
    if (child == 0) exit(0);
    waitpid(child, &first, 0);
    child = fork();
    if (child == 0) _exit(7);
    waitpid(child, &second, 0);
    int as_they_like = WIFEXITED(first) && WEXITSTATUS(first) == 0 && WIFEXITED(second) && WEXITSTATUS(second) == 7;
    *out = answer(as_they_like ? "yes" : "no");
    return FRAMEX_STATUS_OK;
}

typedef int32_t (*Call)(const void *, const FramexCallContext *, FramexSlice, const FramexWaker *, FramexBuffer *,
                        FramexFuture *);

static int32_t offer_all(FramexBuffer *error) {
    static const struct {
        const char *name;
        Call call;
    } all[] = {
        {NAME ".works", works},
        {NAME ".was_handled", was_handled},
        {NAME ".takes_over", takes_over},
        {NAME ".changes_thread", changes_thread},
        {NAME ".has_that_stack", has_that_stack},
        {NAME ".reads_variables", reads_variables},
        {NAME ".sets_variables", sets_variables},
        {NAME ".sleeps", sleeps},
        {NAME ".exits", exits},
        {NAME ".exits_quickly", exits_quickly},
        {NAME ".exits_at_once", exits_at_once},
        {NAME ".exits_with_256", exits_with_256},
        {NAME ".forks", forks},
    };
    int32_t status = FRAMEX_STATUS_OK;
    for (size_t at = 0; at < sizeof all / sizeof *all && status == FRAMEX_STATUS_OK; at++) {
        FramexRegistration registration = {
            .struct_size = sizeof registration,
            .name = text(all[at].name),
            .timeout_ms = TIMEOUT_MS,
            .call = all[at].call,
        };
        status = host->register_(host->instance, &registration, error);
    }
    return status;
}

static void lower_a_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 16;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void lower_a_hard_limit(void) {
    struct rlimit limit = {.rlim_cur = 200, .rlim_max = 300};
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void change_streams(void) {
    close(2);
    dup2(open("/dev/zero", O_WRONLY | O_CLOEXEC), 1);
}

/* Threads that `on_stop` does not end. */
static void *runs(void *for_a_moment) {
    for (int round = 0; for_a_moment == NULL || round < 300; round++) {
        usleep(1000);
        handled++;
    }
    return NULL;
}

static void *cancels_itself(void *argument) {
    if (argument == NULL) pthread_exit(NULL);
    return argument;
}

static void begin_thread(void *(*code)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, code, argument) == 0) pthread_detach(thread);
}

static int32_t on_start(const FramexHost *given, void **instance, FramexBuffer *error) {
    host = given;
    *instance = stack;
    if (is("sigterm")) install(SIGTERM);
    if (is("sigint_by_system_call")) install_by_system_call(SIGINT);
    if (is("sigpipe")) signal(SIGPIPE, SIG_DFL);
    if (is("sigpipe_as_it_is")) signal(SIGPIPE, SIG_IGN);
    if (is("sigchld")) signal(SIGCHLD, SIG_IGN);
    if (is("sigusr1")) install(SIGUSR1);
    if (is("alarm")) alarm(1);
    if (is("umask")) umask(0);
    if (is("directory") && chdir("/") != 0) return FRAMEX_STATUS_ERR;
    if (is("locale") && setlocale(LC_ALL, "C.UTF-8") == NULL) return FRAMEX_STATUS_ERR;
    if (is("limit")) lower_a_limit();
    if (is("hard_limit")) lower_a_hard_limit();
    if (is("exit")) exit(0);
    if (is("streams")) change_streams();
    if (is("on_exit")) on_exit(on_exit_called, NULL);
    if (is("atexit")) atexit(at_exit), at_quick_exit(at_exit), pthread_atfork(at_exit, at_exit, at_exit);
    if (is("timer")) start_timer();
    if (is("thread")) begin_thread(runs, NULL);
    if (is("thread_for_a_moment")) begin_thread(runs, stack), begin_thread(cancels_itself, NULL);
    if (is("keys") || is("all_keys"))
        for (size_t at = 0; at < sizeof many / sizeof *many; at++)
            if (pthread_key_create(&many[at], destroy) != 0 && is("all_keys")) return FRAMEX_STATUS_ERR;
    return offer_all(error);
}

static int32_t on_stop(void *instance, FramexBuffer *error) {
    (void)instance;
    (void)error;
    if (is("takes_it_back")) signal(SIGUSR1, SIG_DFL);
    return FRAMEX_STATUS_OK;
}

const FramexPluginDescriptor framex_plugin_v1 = {
    .magic = {'F', 'X', 'P', 'L', 'U', 'G', 'I', 'N'},
    .struct_size = sizeof(FramexPluginDescriptor),
    .abi_major = FRAMEX_ABI_MAJOR,
    .abi_minor = FRAMEX_ABI_MINOR,
    .flags = FRAMEX_FLAG_CONTAINS_PANICS,
    .name = NAME,
    .version = "0.1.0",
    .on_start = on_start,
    .on_stop = on_stop,
};
