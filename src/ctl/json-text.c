/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/json-text.h"

#include <string.h>

typedef struct Printer {
        FILE *f;
        bool pretty;
        bool objects; /* the outermost values are separated by newlines, not commas */
        unsigned depth;
} Printer;

/* The end of the string literal that begins at s, behind its closing quote. */
static const char *skip_string(const char *s) {
        for (s++; *s && *s != '"'; s++)
                if (*s == '\\' && s[1])
                        s++;
        return *s ? s + 1 : s;
}

static void new_line(const Printer *p) {
        if (!p->pretty)
                return;
        fputc('\n', p->f);
        for (unsigned i = 0; i < p->depth; i++)
                fputs("  ", p->f);
}

static void print_open(Printer *p, const char *s) {
        fputc(*s, p->f);
        p->depth++;
        s += 1 + strspn(s + 1, " \t\r\n");
        if (*s != ']' && *s != '}')
                new_line(p);
}

static void print_close(Printer *p, const char *start, const char *s) {
        const char *before = s - 1;

        while (before > start && strchr(" \t\r\n", *before))
                before--;
        p->depth--;
        if (*before != '[' && *before != '{')
                new_line(p);
        fputc(*s, p->f);
}

static void print_values(Printer *p, const char *start, const char *end) {
        for (const char *s = start; s < end;) {
                const char *next = s + 1;

                if (*s == '"') {
                        next = skip_string(s);
                        fwrite(s, 1, (size_t) (next - s), p->f);
                } else if (*s == '{' || *s == '[')
                        print_open(p, s);
                else if (*s == '}' || *s == ']')
                        print_close(p, start, s);
                else if (*s == ',' && p->depth == 0 && p->objects)
                        fputc('\n', p->f);
                else if (*s == ',') {
                        fputc(',', p->f);
                        new_line(p);
                } else if (*s == ':')
                        fputs(p->pretty ? ": " : ":", p->f);
                else if (!strchr(" \t\r\n", *s))
                        fputc(*s, p->f);
                s = next;
        }
        fputc('\n', p->f);
}

int json_text_print(FILE *f, const char *text, JsonShape shape, bool pretty) {
        Printer p = { .f = f, .pretty = pretty, .objects = shape == JSON_OBJECT };
        const char *start = strchr(text, '['), *end = strrchr(text, ']');

        if (!start || !end || end < start)
                return -EBADMSG;
        if (shape == JSON_ARRAY)
                print_values(&p, start, end + 1);
        else
                print_values(&p, start + 1, end);
        return ferror(f) ? -EIO : 0;
}
