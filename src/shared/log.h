/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Logging of the programs. Libraries below the daemons do not log, they return.
 *
 * Daemons write to the journal with fields (HERO_VM=, HERO_USER=, MESSAGE_ID=), or to stderr with a priority
 * prefix when there is no journal; command line programs to stderr. */

#include <syslog.h>

#include "basic/macro.h"

typedef enum LogTarget {
        LOG_TARGET_AUTO, /* the journal if stderr is connected to it, else stderr */
        LOG_TARGET_CONSOLE,
        LOG_TARGET_JOURNAL,
        LOG_TARGET_NULL,
        _LOG_TARGET_MAX,
        _LOG_TARGET_INVALID = -EINVAL,
} LogTarget;

const char *log_target_to_string(LogTarget t);
LogTarget log_target_from_string(const char *s);

int log_level_from_string(const char *s); /* "debug" … "emerg" or 0…7; -EINVAL */
const char *log_level_to_string(int level);

/* Reads $HERO_LOG_LEVEL and $HERO_LOG_TARGET; identifier shows in the journal. */
void log_setup(const char *identifier);
void log_set_max_level(int level);
int log_get_max_level(void);
void log_set_target(LogTarget t);
LogTarget log_get_target(void);
const char *log_get_identifier(void);

/* vm, user and message_id may be NULL. error: 0 or ±errno, for %m. Returns -|error|. */
int log_full(int level, int error, const char *file, int line, const char *func, const char *vm, const char *user,
             const char *message_id, const char *format, ...) _printf_(9, 10);

/* An entry that is written whatever the level, with fields of its own, "NAME=value" each, at most LOG_FIELDS_MAX. */
#define LOG_FIELDS_MAX 16u
void log_fields(int level, const char *message_id, const char *const *fields, size_t n_fields, const char *message);

#define log_full_errno(level, error, ...) \
        log_full((level), (error), __FILE__, __LINE__, __func__, NULL, NULL, NULL, __VA_ARGS__)

#define log_debug(...) ((void) log_full_errno(LOG_DEBUG, 0, __VA_ARGS__))
#define log_info(...) ((void) log_full_errno(LOG_INFO, 0, __VA_ARGS__))
#define log_notice(...) ((void) log_full_errno(LOG_NOTICE, 0, __VA_ARGS__))
#define log_warning(...) ((void) log_full_errno(LOG_WARNING, 0, __VA_ARGS__))
#define log_error(...) ((void) log_full_errno(LOG_ERR, 0, __VA_ARGS__))
#define log_debug_errno(e, ...) log_full_errno(LOG_DEBUG, (e), __VA_ARGS__)
#define log_info_errno(e, ...) log_full_errno(LOG_INFO, (e), __VA_ARGS__)
#define log_warning_errno(e, ...) log_full_errno(LOG_WARNING, (e), __VA_ARGS__)
#define log_error_errno(e, ...) log_full_errno(LOG_ERR, (e), __VA_ARGS__)
#define log_oom() log_error_errno(-ENOMEM, "Out of memory.")
