/* SPDX-License-Identifier: Apache-2.0 */

/* hero-imaged: keeps the images. Bus-activated, under a user of its own, gone again when nobody wants it. */

#include <signal.h>
#include <systemd/sd-daemon.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log-control.h"
#include "shared/log.h"

#define IDLE_TIMEOUT (30 * USEC_PER_SEC)

static uint64_t idle_timeout(void) {
        const char *e = secure_getenv("HERO_IDLE_SEC");
        uint64_t usec;

        return e && parse_usec(e, &usec) >= 0 && usec != USEC_INFINITY ? usec : IDLE_TIMEOUT;
}

static bool imaged_is_busy(const Imaged *m) {
        return m->n_jobs > 0 || m->n_questions > 0 || m->builtin || m->collect_slot || !polkit_is_idle(m->polkit);
}

static int rearm(Imaged *m) {
        int r;

        r = sd_event_source_set_time_relative(m->idle, idle_timeout());
        return r < 0 ? r : sd_event_source_set_enabled(m->idle, SD_EVENT_ONESHOT);
}

/* After whatever the loop did while we leave: PID 1 counts our time already, and who calls now waits for our end. */
static int on_iteration(sd_event_source *s, void *userdata) {
        Imaged *m = userdata;

        return m->nameless && !imaged_is_busy(m) ? sd_event_exit(m->event, EXIT_SUCCESS) : 0;
}

static int on_name_released(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;

        /* The bus delivers in order: every call that was for us has been dispatched by now, and the next one
         * starts a new instance. What it began is finished first, see on_iteration(). */
        m->nameless = true;
        return 0;
}

static int on_idle(sd_event_source *s, uint64_t usec, void *userdata) {
        Imaged *m = userdata;
        int r;

        if (imaged_is_busy(m))
                return rearm(m);
        r = sd_event_add_post(m->event, NULL, on_iteration, m);
        if (r < 0)
                return rearm(m);
        m->leaving = true;
        (void) catalog_flush(&m->catalog);
        image_store_unlock(m->store); /* our successor may be started as soon as the name is free */
        /* First PID 1, so that an activation from now on is queued behind our end and not taken for done. */
        (void) sd_notify(false, "STOPPING=1\nSTATUS=Leaving, nobody wants images.");
        r = sd_bus_release_name_async(m->bus, NULL, IMAGES_BUS_NAME, on_name_released, m);
        return r < 0 ? sd_event_exit(m->event, r) : 0;
}

/* Any call starts the time again; whatever runs is asked for when it has passed. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;

        if (!m->leaving && sd_bus_message_is_method_call(message, NULL, NULL))
                (void) rearm(m);
        return 0;
}

static int on_name_acquired(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;
        uint32_t result;

        if (sd_bus_message_is_method_error(reply, NULL)) {
                log_error("The bus does not give us the name " IMAGES_BUS_NAME ": %s",
                                strna(sd_bus_message_get_error(reply)->message));
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        if (sd_bus_message_read(reply, "u", &result) < 0 || (result != 1 && result != 4)) {
                log_error("The name " IMAGES_BUS_NAME " is taken.");
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        (void) sd_notify(false, "READY=1\nSTATUS=Keeping images.");
        collect_images(m);
        return 0;
}

static void on_problem(const char *sentence, void *userdata) {
        log_warning("%s", sentence);
}

/* $HERO_CONFIG_DIR is for tests. */
static int load_config(Imaged *m) {
        const char *test = secure_getenv("HERO_CONFIG_DIR");
        const char *const roots[] = { test, NULL };
        int r;

        images_config_defaults(&m->config);
        r = images_config_load(&m->config, test ? roots : NULL, on_problem);
        return r < 0 ? log_error_errno(r, "Failed to read the configuration: %m") : 0;
}

static int open_store(Imaged *m) {
        const char *directory = secure_getenv("STATE_DIRECTORY") ?: STATEDIR "/images";
        int r;

        r = image_store_open(directory, &m->store);
        if (r == -EBUSY)
                return log_error_errno(r, "Another hero-imaged uses %s.", directory);
        if (r < 0)
                return log_error_errno(r, "Failed to open the image store %s: %m", directory);
        r = catalog_load(&m->catalog, m->store, image_changed, m);
        if (r < 0)
                return log_error_errno(r, "Failed to read the image store %s: %m", directory);
        if (m->catalog.n_broken > 0)
                log_warning("%u images in the image store cannot be read.", m->catalog.n_broken);
        if (!catalog_is_sure(&m->catalog))
                log_warning("A tag in the image store cannot be read; images without a tag stay.");
        return 0;
}

static int open_event(Imaged *m) {
        int r;

        r = sd_event_default(&m->event);
        if (r >= 0)
                r = sd_event_set_watchdog(m->event, true);
        if (r >= 0)
                r = sd_event_set_signal_exit(m->event, true);
        if (r >= 0)
                r = sd_event_add_time_relative(
                                m->event, &m->idle, CLOCK_MONOTONIC, idle_timeout(), 0, on_idle, m);
        if (r >= 0)
                r = sd_event_source_set_description(m->idle, "idle");
        return r < 0 ? log_error_errno(r, "Failed to set up the event loop: %m") : 0;
}

static int open_bus(Imaged *m) {
        int r;

        r = sd_bus_open_system_with_description(&m->bus, "hero-imaged");
        if (r < 0)
                return log_error_errno(r, "Failed to connect to the system bus: %m");
        r = sd_bus_set_exit_on_disconnect(m->bus, true);
        if (r >= 0)
                r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_add_filter(m->bus, NULL, on_message, m);
        if (r >= 0)
                r = polkit_new(m->bus, &m->polkit);
        if (r >= 0)
                r = audit_new(m->polkit, &m->audit);
        if (r >= 0)
                r = log_control_register(m->bus);
        if (r >= 0)
                r = images_bus_register(m);
        if (r >= 0)
                r = image_bus_register(m);
        if (r >= 0)
                r = job_bus_register(m);
        if (r >= 0)
                r = sd_bus_request_name_async(m->bus, NULL, IMAGES_BUS_NAME, 0, on_name_acquired, m);
        return r < 0 ? log_error_errno(r, "Failed to set up the bus: %m") : 0;
}

static int run(Imaged *m) {
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
                r = open_store(m);
        if (r >= 0)
                r = open_event(m);
        if (r >= 0)
                r = open_bus(m);
        if (r < 0)
                return r;
        r = sd_event_loop(m->event);
        (void) sd_notify(false, "STOPPING=1");
        return r;
}

static void imaged_done(Imaged *m) {
        jobs_free(m);
        questions_free(m);
        m->collect_slot = sd_bus_slot_unref(m->collect_slot);
        builtin_free(m);
        audit_free(m->audit);
        polkit_free(m->polkit);
        sd_event_source_disable_unref(m->idle);
        sd_event_source_disable_unref(m->watch);
        sd_event_source_disable_unref(m->changed);
        catalog_done(&m->catalog);
        uses_free(m);
        sd_bus_flush_close_unref(m->bus);
        sd_event_unref(m->event);
        image_store_free(m->store);
        images_config_done(&m->config);
}

int main(int argc, char *argv[]) {
        Imaged m = {
                .jobs = TAILQ_HEAD_INITIALIZER(m.jobs),
                .questions = TAILQ_HEAD_INITIALIZER(m.questions),
                .opens = TAILQ_HEAD_INITIALIZER(m.opens),
        };
        int r;

        log_setup("hero-imaged");
        /* We come and go: a job must not be taken for one of the same number of the instance before. */
        m.last_job_id = (uint32_t) (now_usec(CLOCK_BOOTTIME) / (10 * USEC_PER_MSEC));
        if (argc > 1) {
                log_error("hero-imaged takes no arguments, see hero-imaged.service(8).");
                return EXIT_FAILURE;
        }
        r = run(&m);
        imaged_done(&m);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
