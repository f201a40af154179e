// Linux calls that Swift's Glibc module does not export, as small inline functions for the HTTP server's sockets.
// Feature-test macros are left alone: changing them here would give this header other types than the Glibc module
// has. Calls that need them are declared under a name of our own, bound to the C library's symbol.
#ifndef TIDELINE_CLINUX_H
#define TIDELINE_CLINUX_H

#if defined(__linux__)

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

extern int clinux_symbol_accept4(int, struct sockaddr *, socklen_t *, int) __asm__("accept4");
extern void *clinux_symbol_memmem(const void *, size_t, const void *, size_t) __asm__("memmem");

// What an epoll registration asks for and what an event reports.
static const uint32_t clinux_readable = EPOLLIN;
static const uint32_t clinux_writable = EPOLLOUT;
static const uint32_t clinux_peer_closed = EPOLLRDHUP;
static const uint32_t clinux_hang_up = EPOLLHUP;
static const uint32_t clinux_failed = EPOLLERR;
static const uint32_t clinux_edge_triggered = 1u << 31;

// Most events one clinux_epoll_wait reports.
enum { clinux_epoll_batch_max = 256 };

static inline int clinux_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static inline int clinux_epoll_add(int poll, int descriptor, uint32_t interest, uint64_t tag) {
    struct epoll_event event = { .events = interest, .data = { .u64 = tag } };
    return epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
}

static inline int clinux_epoll_change(int poll, int descriptor, uint32_t interest, uint64_t tag) {
    struct epoll_event event = { .events = interest, .data = { .u64 = tag } };
    return epoll_ctl(poll, EPOLL_CTL_MOD, descriptor, &event);
}

// Fills `flags` and `tags` (both at least clinux_epoll_batch_max long). `struct epoll_event` is packed on x86-64,
// which Swift cannot express, so the events are split here.
static inline int clinux_epoll_wait(int poll, uint32_t *flags, uint64_t *tags, int timeout_ms) {
    struct epoll_event events[clinux_epoll_batch_max];
    int count = epoll_wait(poll, events, clinux_epoll_batch_max, timeout_ms);
    for (int i = 0; i < count; i++) {
        flags[i] = events[i].events;
        tags[i] = events[i].data.u64;
    }
    return count;
}

static inline int clinux_eventfd_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static inline int clinux_eventfd_signal(int descriptor) {
    uint64_t one = 1;
    return write(descriptor, &one, sizeof one) == (ssize_t)sizeof one ? 0 : -1;
}

// A non-blocking, close-on-exec stream socket.
static inline int clinux_stream_socket(int family) {
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// Accepts a connection as a non-blocking, close-on-exec socket.
static inline int clinux_accept(int listener, struct sockaddr_storage *peer) {
    socklen_t length = sizeof *peer;
    return clinux_symbol_accept4(listener, (struct sockaddr *)peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

// Sends two pieces in one call; a closed peer is EPIPE, never SIGPIPE.
static inline ssize_t clinux_send(int descriptor, const void *first, size_t first_count, const void *second,
                                  size_t second_count) {
    struct iovec pieces[2] = {
        { .iov_base = (void *)first, .iov_len = first_count },
        { .iov_base = (void *)second, .iov_len = second_count },
    };
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = second_count > 0 ? 2 : 1 };
    return sendmsg(descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static inline ssize_t clinux_receive(int descriptor, void *into, size_t capacity) {
    return recv(descriptor, into, capacity, MSG_DONTWAIT);
}

// Offset of `needle` in `haystack`, or -1.
static inline ptrdiff_t clinux_find(const void *haystack, size_t haystack_count, const void *needle, size_t needle_count) {
    const char *found = (const char *)clinux_symbol_memmem(haystack, haystack_count, needle, needle_count);
    return found ? found - (const char *)haystack : -1;
}

// Names the calling thread for ps, top and debuggers; the kernel keeps 15 bytes.
static inline void clinux_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

// Raises the soft limit on open descriptors to the hard limit; returns the limit now in force.
static inline uint64_t clinux_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = { .rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max };
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
    }
    return limit.rlim_cur;
}

#endif
#endif
