/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "metricsd/cgroup-file.h"
#include "metricsd/metricsd.h"
#include "metricsd/prometheus.h"

static void labels_are_escaped(void **state) {
        static const char *const texts[][2] = {
                { "", "" },
                { "plain-1", "plain-1" },
                { "\"", "\\\"" },
                { "a\\b\nc\"d", "a\\\\b\\nc\\\"d" },
                { "\n\n", "\\n\\n" },
                { "äö", "äö" },
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_free_ char *s = prometheus_escape(texts[i][0]);

                assert_string_equal(s, texts[i][1]);
        }
}

static Metricsd m;
static sd_event *event;

static void ignore(void *userdata) {
}

static int setup(void **state) {
        m = (Metricsd) { .vms.list = TAILQ_HEAD_INITIALIZER(m.vms.list) };
        if (sd_event_new(&event) < 0 || history_new(event, NULL, 1 << 20, &m.history) < 0)
                return -1;
        return sampler_new(event, &m.vms, m.history, 5000000, ignore, NULL, &m.sampler);
}

static int teardown(void **state) {
        m.sampler = sampler_free(m.sampler);
        m.history = history_free(m.history);
        event = sd_event_unref(event);
        return 0;
}

static void add(Vm *vm) {
        counters_unknown(&vm->counters);
        TAILQ_INSERT_TAIL(&m.vms.list, vm, vms);
        m.vms.n++;
}

static void assert_line(const char *text, const char *line) {
        _cleanup_free_ char *whole = strprintf("\n%s\n", line);

        if (!strstr(text, whole))
                fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void a_host_without_vms_has_a_text(void **state) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(prometheus_text(&m, &text), 0);
        assert_line(text, "hero_vms{state=\"running\"} 0");
        assert_line(text, "hero_metrics_up 0");
        assert_line(text, "hero_metrics_build_info{version=\"" HERO_VERSION "\"} 1");
        assert_line(text, "# TYPE hero_vm_cpu_seconds_total counter");
        assert_null(strstr(text, "\nhero_vm_"));
}

static void values_are_in_base_units(void **state) {
        static char name[] = "web", user[] = "a\"b", s[] = "running", id[] = "0123456789ab", image[] = "busybox:latest";
        Vm a = { .name = name, .user = user, .state = s, .id = id, .image = image, .cpus = 2, .memory = 268435456, .started = 1795000000500000 };
        Vm b = { .name = id };
        _cleanup_free_ char *text = NULL;

        add(&a);
        add(&b);
        a.counters.v[COUNTER_CPU] = 1234567;
        a.counters.v[COUNTER_CPU_USER] = 7;
        a.counters.v[COUNTER_CPU_SYSTEM] = 5000000;
        a.counters.v[COUNTER_MEMORY] = UINT64_MAX - 1;
        a.counters.v[COUNTER_RECEIVE] = 0;
        assert_int_equal(prometheus_text(&m, &text), 0);
        assert_line(text, "hero_vms{state=\"running\"} 1");
        assert_line(text, "hero_vm_cpu_seconds_total{vm=\"web\",user=\"a\\\"b\"} 1.234567");
        assert_line(text, "hero_vm_cpu_user_seconds_total{vm=\"web\",user=\"a\\\"b\"} 0.000007");
        assert_line(text, "hero_vm_cpu_system_seconds_total{vm=\"web\",user=\"a\\\"b\"} 5");
        assert_line(text, "hero_vm_memory_bytes{vm=\"web\",user=\"a\\\"b\"} 18446744073709551614");
        assert_line(text, "hero_vm_network_receive_bytes_total{vm=\"web\",user=\"a\\\"b\"} 0");
        assert_line(text, "hero_vm_start_time_seconds{vm=\"web\",user=\"a\\\"b\"} 1795000000.500000");
        assert_line(text, "hero_vm_info{vm=\"web\",user=\"a\\\"b\",id=\"0123456789ab\",image=\"busybox:latest\",state=\"running\"} 1");
        assert_line(text, "hero_vm_info{vm=\"0123456789ab\",user=\"\",id=\"\",image=\"\",state=\"\"} 1");
        assert_null(strstr(text, "hero_vm_disk_reads_total{"));
        assert_line(text, "hero_metrics_vms_left_out 0");
}

static void vms_that_do_not_fit_are_counted(void **state) {
        _cleanup_free_ char *text = NULL, *user = malloc(64 << 10);
        Vm *many = new0(Vm, 50);

        memset(user, 'u', (64 << 10) - 1);
        user[(64 << 10) - 1] = 0;
        for (unsigned i = 0; i < 50; i++) {
                many[i].user = user;
                add(many + i);
        }
        assert_int_equal(prometheus_text(&m, &text), 0);
        assert_null(strstr(text, "\nhero_metrics_vms_left_out 0\n"));
        assert_true(strlen(text) < PROMETHEUS_TEXT_MAX);
        free(many);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(labels_are_escaped),
                cmocka_unit_test_setup_teardown(a_host_without_vms_has_a_text, setup, teardown),
                cmocka_unit_test_setup_teardown(values_are_in_base_units, setup, teardown),
                cmocka_unit_test_setup_teardown(vms_that_do_not_fit_are_counted, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
