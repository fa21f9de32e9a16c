/* SPDX-License-Identifier: Apache-2.0 */

/* skopeo's last words, see the header. It has one exit status for everything, so its text has to do. */

#include "imaged/fetch-words.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

/* The value of msg="…" at p, without the quoting of logrus; a copy. */
static char *unquote(const char *p) {
        char *s = new(char, strlen(p) + 1), *q = s;

        if (!s)
                return NULL;
        if (*p != '"')
                (void) snprintf(s, strlen(p) + 1, "%.*s", (int) strcspn(p, "\n"), p);
        else {
                for (p++; *p && *p != '"' && *p != '\n'; p++) {
                        if (*p != '\\' || !p[1])
                                *q++ = *p;
                        else if (*++p == 'n' || *p == 't' || *p == 'r')
                                *q++ = ' ';
                        else
                                *q++ = *p;
                }
                *q = 0;
        }
        return s;
}

/* The last "fatal" line, else the last line. */
static char *last_message(const char *log) {
        static const char fatal[] = "level=fatal msg=";
        const char *found = NULL, *p;
        size_t n;

        for (p = log; (p = strstr(p, fatal)); p += strlen(fatal))
                found = p + strlen(fatal);
        if (found)
                return unquote(found);
        n = strlen(log);
        while (n > 0 && log[n - 1] == '\n')
                n--;
        p = memrchr(log, '\n', n);
        p = p ? p + 1 : log;
        return strndup(p, n - (size_t) (p - log));
}

/* skopeo says what it was doing and with what, before it says why that failed. */
static const char *without_location(const char *message, const char *location) {
        const char *p = strstr(message, location);

        if (!p || p - message > 64)
                return message;
        p += strlen(location);
        p += strspn(p, "\"");
        return p[0] == ':' && p[1] == ' ' && p[2] ? p + 2 : message;
}

static bool has_any(const char *s, const char *const *words) {
        for (; *words; words++)
                if (strcasestr(s, *words))
                        return true;
        return false;
}

bool fetch_words_are_patience(const char *log) {
        return strcasestr(log, "too many requests") || strcasestr(log, "toomanyrequests");
}

FetchError fetch_words(const char *log, const char *location, bool copying, bool has_auth,
                char buf[static FETCH_SENTENCE_MAX]) {
        static const char *const none[] = { "manifest unknown", "name unknown", "repository name not known", "404 (Not Found)",
                                            "404 Not Found", NULL };
        static const char *const not_allowed[] = { "unauthorized", "authentication required", "access to the resource is denied",
                                                   "invalid username/password", "invalid status code from registry 401",
                                                   "invalid status code from registry 403", "401 Unauthorized", "403 Forbidden",
                                                   "403 (Forbidden)", "denied: ", NULL };
        static const char *const space[] = { "no space left on device", "disk quota exceeded", NULL };
        static const char *const size[] = { "file too large", NULL };
        _cleanup_free_ char *message = last_message(log);
        const char *words = message ? without_location(message, location) : "out of memory";
        int n = (int) strlen(words);
        FetchError e = FETCH_FAILED;

        while (n > 0 && (words[n - 1] == '.' || words[n - 1] == ' '))
                n--;
        if (n == 0) {
                words = "skopeo ended without a word";
                n = (int) strlen(words);
        }
        if (has_any(words, space)) {
                e = FETCH_NO_SPACE;
                (void) snprintf(buf, FETCH_SENTENCE_MAX, "There is no space left for %.300s.", location);
        } else if (has_any(words, size)) {
                e = FETCH_TOO_LARGE;
                (void) snprintf(buf, FETCH_SENTENCE_MAX, "The registry sends more than %.300s is said to have.", location);
        } else if (fetch_words_are_patience(words))
                (void) snprintf(buf, FETCH_SENTENCE_MAX,
                                "The registry of %.300s has had too many requests, try again later: %.*s.", location,
                                MIN2(n, 400), words);
        else if (has_any(words, not_allowed))
                (void) snprintf(buf, FETCH_SENTENCE_MAX,
                                has_auth ? "The registry of %.300s does not accept the credentials it was given, or they are "
                                           "not for this image: %.*s."
                                         : "The registry of %.300s wants credentials, or has no such image: %.*s. Credentials "
                                           "are given as /etc/credstore/containers-auth.json or by AuthFile= in images.conf(5).",
                                location, MIN2(n, 400), words);
        else if (!copying && has_any(words, none)) {
                e = FETCH_NO_SUCH_IMAGE;
                (void) snprintf(buf, FETCH_SENTENCE_MAX, "The registry has no image %.300s: %.*s.", location, MIN2(n, 400),
                                words);
        } else
                (void) snprintf(buf, FETCH_SENTENCE_MAX, "%.300s cannot be pulled: %.*s.", location, MIN2(n, 500), words);
        utf8_sanitize(buf);
        return e;
}
