/* SPDX-License-Identifier: Apache-2.0 */

/* hero-metricsd: measures VMs and remembers it. Under a user of its own; reads only. */

#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "metricsd/metricsd.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log-control.h"
#include "shared/log.h"

static void on_problem(const char *sentence, void *userdata) {
        log_warning("%s", sentence);
}

/* $HERO_CONFIG_DIR is for tests. */
static int load_config(Metricsd *m) {
        const char *test = secure_getenv("HERO_CONFIG_DIR");
        const char *const roots[] = { test, NULL };
        int r;

        metrics_config_defaults(&m->config, secure_getenv("METRICS_INTERVAL_SECS"), on_problem, NULL);
        r = metrics_config_load(&m->config, test ? roots : NULL, on_problem);
        return r < 0 ? log_error_errno(r, "Failed to read the configuration: %m") : 0;
}

static int on_name_acquired(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Metricsd *m = userdata;
        uint32_t result;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                log_error("The bus does not give us the name " METRICS_BUS_NAME ": %s",
                                strna(sd_bus_message_get_error(reply)->message));
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        if (sd_bus_message_read(reply, "u", &result) < 0 || (result != 1 && result != 4)) {
                log_error("The name " METRICS_BUS_NAME " is taken.");
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        (void) sd_notify(false, "READY=1\nSTATUS=Measuring VMs.");
        return 0;
}

static void on_vm_removing(Vm *vm, void *userdata) {
        Metricsd *m = userdata;

        sampler_forget(m->sampler, vm);
        m->text = mfree(m->text);
}

static void on_passed(void *userdata) {
        Metricsd *m = userdata;

        m->text = mfree(m->text);
}

static int open_event(Metricsd *m) {
        int r;

        r = sd_event_default(&m->event);
        if (r >= 0)
                r = sd_event_set_watchdog(m->event, true);
        if (r >= 0)
                r = sd_event_set_signal_exit(m->event, true);
        return r < 0 ? log_error_errno(r, "Failed to set up the event loop: %m") : 0;
}

static int open_bus(Metricsd *m) {
        int r;

        r = sd_bus_open_system_with_description(&m->bus, "hero-metricsd");
        if (r < 0)
                return log_error_errno(r, "Failed to connect to the system bus: %m");
        r = sd_bus_set_exit_on_disconnect(m->bus, true);
        if (r >= 0)
                r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = polkit_new(m->bus, &m->polkit);
        if (r >= 0)
                r = log_control_register(m->bus);
        if (r >= 0)
                r = metrics_bus_register(m);
        if (r >= 0)
                r = vms_start(&m->vms, m->bus, on_vm_removing, m);
        if (r >= 0)
                r = sd_bus_request_name_async(m->bus, NULL, METRICS_BUS_NAME, 0, on_name_acquired, m);
        return r < 0 ? log_error_errno(r, "Failed to set up the bus: %m") : 0;
}

static int start_sampling(Metricsd *m) {
        int r;

        r = history_new(m->event, secure_getenv("STATE_DIRECTORY") ?: STATEDIR "/metrics", m->config.space_max, &m->history);
        if (r < 0)
                return log_error_errno(r, "Failed to start history: %m");
        r = sampler_new(m->event, &m->vms, m->history, m->config.interval, on_passed, m, &m->sampler);
        return r < 0 ? log_error_errno(r, "Failed to start sampling: %m") : 0;
}

static int run(Metricsd *m) {
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return negative_errno();
        r = error_names_register();
        if (r >= 0)
                r = load_config(m);
        if (r >= 0)
                r = open_event(m);
        if (r >= 0)
                r = start_sampling(m);
        if (r >= 0)
                r = open_bus(m);
        if (r < 0)
                return r;
        r = sd_event_loop(m->event);
        (void) sd_notify(false, "STOPPING=1");
        return r;
}

static void metricsd_done(Metricsd *m) {
        vms_done(&m->vms);
        m->sampler = sampler_free(m->sampler);
        history_free(m->history);
        polkit_free(m->polkit);
        free(m->text);
        sd_bus_flush_close_unref(m->bus);
        sd_event_unref(m->event);
}

int main(int argc, char *argv[]) {
        Metricsd m = { .vms.list = TAILQ_HEAD_INITIALIZER(m.vms.list) };
        int r;

        log_setup("hero-metricsd");
        if (argc > 1) {
                log_error("hero-metricsd takes no arguments, see hero-metricsd.service(8).");
                return EXIT_FAILURE;
        }
        r = run(&m);
        metricsd_done(&m);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
