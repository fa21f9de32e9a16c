/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/prometheus.h"

#include <inttypes.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

typedef struct Text {
        char *p;
        size_t n, allocated;
        bool failed;
} Text;

static void add_bytes(Text *t, const char *s, size_t n) {
        if (t->failed || !GREEDY_REALLOC(t->p, t->allocated, t->n + n + 1)) {
                t->failed = true;
                return;
        }
        memcpy(t->p + t->n, s, n);
        t->n += n;
        t->p[t->n] = 0;
}

static void add(Text *t, const char *s) {
        add_bytes(t, s, strlen(s));
}

static void addf(Text *t, const char *format, ...) _printf_(2, 3);
static void addf(Text *t, const char *format, ...) {
        char buffer[1024];
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(buffer, sizeof(buffer), format, ap);
        va_end(ap);
        add_bytes(t, buffer, MIN2((size_t) MAX2(n, 0), sizeof(buffer) - 1));
}

static void add_uint64(Text *t, uint64_t v) {
        char buffer[24], *p = buffer + sizeof(buffer);

        do
                *--p = (char) ('0' + v % 10);
        while (v /= 10);
        add_bytes(t, p, (size_t) (buffer + sizeof(buffer) - p));
}

/* By hand: printf() of a double is a fifth of the whole otherwise, and asks the locale. */
static void add_usec_as_seconds(Text *t, uint64_t usec) {
        char fraction[] = ".000000";
        uint64_t rest = usec % USEC_PER_SEC;

        add_uint64(t, usec / USEC_PER_SEC);
        if (rest == 0)
                return;
        for (char *p = fraction + 6; p > fraction; p--, rest /= 10)
                *p = (char) ('0' + rest % 10);
        add_bytes(t, fraction, 7);
}

static void add_escaped(Text *t, const char *s) {
        for (const char *p = s;; p++) {
                size_t n = strcspn(p, "\\\"\n");

                add_bytes(t, p, n);
                p += n;
                if (!*p)
                        return;
                add(t, *p == '\n' ? "\\n" : *p == '"' ? "\\\"" : "\\\\");
        }
}

char *prometheus_escape(const char *s) {
        Text t = {};

        add(&t, "");
        add_escaped(&t, s);
        if (t.failed)
                return mfree(t.p);
        return t.p;
}

static void add_head(Text *t, const char *name, const char *type, const char *help) {
        addf(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* {vm="…",user="…"}, the same in every series of the VM. */
static char *labels_of(const Vm *vm) {
        Text t = {};

        add(&t, "{vm=\"");
        add_escaped(&t, strempty(vm->name));
        add(&t, "\",user=\"");
        add_escaped(&t, strempty(vm->user));
        add(&t, "\"} ");
        return t.failed ? mfree(t.p) : t.p;
}

typedef struct Labels {
        const Vm *vm;
        char *text;
} Labels;

static void labels_free(Labels *l, unsigned n) {
        for (unsigned i = 0; l && i < n; i++)
                free(l[i].text);
        free(l);
}

static int make_labels(const Vms *vms, Labels **ret) {
        Labels *l = new0(Labels, vms->n);
        unsigned n = 0;
        Vm *vm;

        if (!l)
                return -ENOMEM;
        TAILQ_FOREACH(vm, &vms->list, vms) {
                l[n] = (Labels) { vm, labels_of(vm) };
                if (!l[n++].text) {
                        labels_free(l, n);
                        return -ENOMEM;
                }
        }
        *ret = l;
        return (int) n;
}

static void add_states(Text *t, const Vms *vms) {
        add_head(t, "hero_vms", "gauge", "VMs, by state.");
        for (const char *const *state = vm_states; *state; state++) {
                unsigned n = 0;
                Vm *vm;

                TAILQ_FOREACH(vm, &vms->list, vms)
                        n += streq_ptr(vm->state, *state);
                addf(t, "hero_vms{state=\"%s\"} %u\n", *state, n);
        }
}

static void add_counters(Text *t, const Labels *l, unsigned n) {
        for (Counter c = 0; c < _COUNTER_MAX; c++) {
                const CounterInfo *info = counter_info + c;

                add_head(t, info->name, info->type == COUNTER_LEVEL ? "gauge" : "counter", info->help);
                for (unsigned i = 0; i < n; i++) {
                        uint64_t v = l[i].vm->counters.v[c];

                        if (v == VALUE_UNKNOWN)
                                continue;
                        add(t, info->name);
                        add(t, l[i].text);
                        if (info->type == COUNTER_TOTAL_USEC)
                                add_usec_as_seconds(t, v);
                        else
                                add_uint64(t, v);
                        add(t, "\n");
                }
        }
}

static void add_info(Text *t, const Labels *l, unsigned n) {
        add_head(t, "hero_vm_info", "gauge", "The VM's id, image and state; always 1.");
        for (unsigned i = 0; i < n; i++) {
                const Vm *vm = l[i].vm;

                add(t, "hero_vm_info");
                add_bytes(t, l[i].text, strlen(l[i].text) - 2);
                add(t, ",id=\"");
                add_escaped(t, strempty(vm->id));
                add(t, "\",image=\"");
                add_escaped(t, strempty(vm->image));
                add(t, "\",state=\"");
                add_escaped(t, strempty(vm->state));
                add(t, "\"} 1\n");
        }
}

static void add_levels(Text *t, const Labels *l, unsigned n) {
        add_head(t, "hero_vm_cpus", "gauge", "CPUs of the VM.");
        for (unsigned i = 0; i < n; i++)
                addf(t, "hero_vm_cpus%s%" PRIu32 "\n", l[i].text, l[i].vm->cpus);
        add_head(t, "hero_vm_memory_limit_bytes", "gauge", "Memory of the guest.");
        for (unsigned i = 0; i < n; i++)
                addf(t, "hero_vm_memory_limit_bytes%s%" PRIu64 "\n", l[i].text, l[i].vm->memory);
        add_head(t, "hero_vm_start_time_seconds", "gauge", "When the VM was started the last time, in seconds since the epoch.");
        for (unsigned i = 0; i < n; i++) {
                if (l[i].vm->started == 0)
                        continue;
                add(t, "hero_vm_start_time_seconds");
                add(t, l[i].text);
                add_usec_as_seconds(t, l[i].vm->started);
                add(t, "\n");
        }
}

static void add_own(Text *t, const Metricsd *m, unsigned left_out) {
        const SamplerStatus *s = sampler_status(m->sampler);

        add_head(t, "hero_metrics_build_info", "gauge", "The version of hero-metricsd; always 1.");
        add(t, "hero_metrics_build_info{version=\"" HERO_VERSION "\"} 1\n");
        add_head(t, "hero_metrics_up", "gauge", "1 when hero-computed told which VMs there are.");
        addf(t, "hero_metrics_up %d\n", m->vms.ready);
        add_head(t, "hero_metrics_passes_total", "counter", "Passes over all VMs.");
        addf(t, "hero_metrics_passes_total %" PRIu64 "\n", s->passes);
        add_head(t, "hero_metrics_passes_late_total", "counter", "Passes left out because the one before had not ended.");
        addf(t, "hero_metrics_passes_late_total %" PRIu64 "\n", s->late);
        add_head(t, "hero_metrics_pass_duration_seconds", "gauge", "How long the last pass took.");
        add(t, "hero_metrics_pass_duration_seconds ");
        add_usec_as_seconds(t, s->duration);
        add(t, "\n");
        add_head(t, "hero_metrics_history_dropped_total", "counter", "Passes that the disk was too slow for.");
        addf(t, "hero_metrics_history_dropped_total %" PRIu64 "\n", history_dropped(m->history));
        add_head(t, "hero_metrics_vms_left_out", "gauge", "VMs for which this answer had no room.");
        addf(t, "hero_metrics_vms_left_out %u\n", left_out);
}

/* How many of them fit: each has some lines, of a name, its labels and a number. */
static unsigned that_fit(const Labels *l, unsigned n) {
        uint64_t size = 16384;

        for (unsigned i = 0; i < n; i++) {
                size += (_COUNTER_MAX + 4) * (strlen(l[i].text) + 64) + strlen(strempty(l[i].vm->image)) * 2;
                if (size > PROMETHEUS_TEXT_MAX)
                        return i;
        }
        return n;
}

int prometheus_text(const Metricsd *m, char **ret) {
        Labels *l = NULL;
        Text t = {};
        unsigned n;
        int r;

        r = make_labels(&m->vms, &l);
        if (r < 0)
                return r;
        n = that_fit(l, (unsigned) r);
        add_states(&t, &m->vms);
        add_info(&t, l, n);
        add_levels(&t, l, n);
        add_counters(&t, l, n);
        add_own(&t, m, (unsigned) r - n);
        labels_free(l, (unsigned) r);
        if (t.failed) {
                free(t.p);
                return -ENOMEM;
        }
        *ret = t.p;
        return 0;
}
