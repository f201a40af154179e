// libpq as Swift sees it, and what starting a private Postgres needs from the C library.
// Debian keeps libpq's header in a folder of its own; other systems put it on the include path.
#ifndef TIDELINE_CPOSTGRES_SHIM_H
#define TIDELINE_CPOSTGRES_SHIM_H

#if __has_include(<libpq-fe.h>)
#include <libpq-fe.h>
#else
#include <postgresql/libpq-fe.h>
#endif

#ifdef __linux__
#include <spawn.h>
// In glibc (2.34 and 2.29), but declared for _GNU_SOURCE only, which Swift's view of glibc does not have.
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);
extern int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path);
#endif

#endif
