/* SPDX-License-Identifier: Apache-2.0 */

/* hero-computed: options, signals, and the order of starting: configuration → bus → adoption → name → ready. */

#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/adoption.h"
#include "compute/manager.h"
#include "compute/reconcile.h"
#include "compute/steps.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define LAST_ENDS_USEC (2 * USEC_PER_SEC)
#define LAST_WRITES_USEC (5 * USEC_PER_SEC) /* as it may be a mere restart, in which nothing would be lost */
#define NAME_IS_OURS 1u /* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER */

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Manager *m = userdata;

        (void) sd_notify(false, "RELOADING=1\nSTATUS=Reading the configuration again.");
        log_info("Reading the configuration again.");
        (void) manager_load_config(m);
        (void) sd_notify(false, "READY=1\nSTATUS=Serving.");
        return 0;
}

static bool ends_are_recorded(const Manager *m) {
        for (const Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (vm_has_ended(vm))
                        return false;
        return true;
}

/* A guest that is on its way to the disk, and has no VMM any more: when we are stopped, and not only restarted, systemd forgets
 * the memory it is in. */
static bool guests_are_written(const Manager *m) {
        for (const Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (vm->state == VM_HIBERNATING && vm->runtime && vm->runtime->hibernator)
                        return false;
        return true;
}

static int on_each_event(sd_event_source *s, void *userdata) {
        Manager *m = userdata;

        return ends_are_recorded(m) && guests_are_written(m) ? sd_event_exit(m->event, 0) : 0;
}

static int on_long_enough(sd_event_source *s, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        return sd_event_exit(m->event, 0);
}

/* At shutdown PID 1 has us end as soon as the last scope is empty: what it was that ended is still to be written down. */
static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Manager *m = userdata;

        uint64_t limit = guests_are_written(m) ? LAST_ENDS_USEC : LAST_WRITES_USEC;

        if ((ends_are_recorded(m) && guests_are_written(m)) || sd_event_add_post(m->event, NULL, on_each_event, m) < 0 ||
            sd_event_add_time_relative(m->event, NULL, CLOCK_MONOTONIC, limit, 0, on_long_enough, m) < 0)
                return sd_event_exit(m->event, 0);
        return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Manager *m = userdata;
        uint32_t result;

        if (e || sd_bus_message_read(reply, "u", &result) < 0 || result != NAME_IS_OURS) {
                log_error("Cannot have the bus name " COMPUTE_BUS_NAME ": %s",
                          e ? e->message : "somebody else has it; is there another hero-computed?");
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        (void) sd_notifyf(false, "READY=1\nSTATUS=Serving %u VMs.", m->n_vms);
        log_info("Serving %u VMs.", m->n_vms);
        return 0;
}

static void on_adopted(Manager *m) {
        network_adopted(m);
        m->serving = true;
        idle_begin(m);
        (void) reconcile_start(m);
        if (sd_bus_request_name_async(m->bus, NULL, COMPUTE_BUS_NAME, 0, on_name, m) < 0)
                (void) sd_event_exit(m->event, EXIT_FAILURE);
}

static int add_signals(Manager *m) {
        sigset_t set;
        int r;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return negative_errno();
        (void) signal(SIGPIPE, SIG_IGN);
        r = sd_event_add_signal(m->event, NULL, SIGTERM, on_terminate, m);
        if (r >= 0)
                r = sd_event_add_signal(m->event, NULL, SIGINT, on_terminate, m);
        return r < 0 ? r : sd_event_add_signal(m->event, NULL, SIGHUP, on_reload, m);
}

static int run(void) {
        _cleanup_(manager_freep) Manager *m = NULL;
        _cleanup_(fd_store_forget) FdStore store = {};
        int r;

        r = manager_new(&m);
        if (r >= 0)
                r = manager_load_config(m);
        if (r >= 0)
                r = network_init(m);
        if (r < 0)
                return r;
        r = add_signals(m);
        if (r >= 0)
                r = fd_store_receive(&store);
        if (r < 0)
                return log_error_errno(r, "Cannot set signals and stored sockets up: %m");
        r = manager_connect(m);
        if (r >= 0)
                r = adoption_begin(m, &store, on_adopted);
        if (r < 0)
                return r;
        r = sd_event_loop(m->event);
        (void) sd_notify(false, "STOPPING=1");
        return r;
}

int main(int argc, char **argv) {
        log_setup("hero-computed");
        if (argc > 1) {
                if (streq(argv[1], "--version"))
                        printf("hero-computed %s\n", HERO_VERSION);
                else if (streq(argv[1], "--help"))
                        printf("hero-computed [--help|--version]\n\n"
                               "Manages VMs on the system bus as " COMPUTE_BUS_NAME ". Started by systemd; see "
                               "hero-computed.service(8).\n");
                else {
                        fprintf(stderr, "hero-computed: There is no option '%s', see --help.\n", argv[1]);
                        return 2;
                }
                return 0;
        }
        if (geteuid() != 0) {
                fprintf(stderr, "hero-computed must run as root, as hero-computed.service does.\n");
                return EXIT_FAILURE;
        }
        /* The loop's exit code is positive: without the bus, say, the service has failed and is to be started again. */
        return run() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
