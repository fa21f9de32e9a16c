/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl run: a VM for one command. In the foreground the VM runs nothing by itself; the command is executed in it as
 * heroctl exec does, and whatever happens here (its end, Ctrl-C, SIGTERM, the end of the terminal, an error) the VM is
 * stopped afterwards, and with --rm deleted. In the background (-d), and when it is an init, the command is the VM's own.
 * With --rm the VM is transient: the service deletes one that ends while we do not look, or are not there any more. */

#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/console-session.h"
#include "ctl/exec-session.h"
#include "ctl/heroctl.h"
#include "ctl/image-properties.h"
#include "ctl/make-vm.h"
#include "ctl/polkit-agent.h"
#include "ctl/run-words.h"
#include "ctl/signal-set.h"
#include "ctl/spec.h"
#include "ctl/wait-job.h"
#include "shared/error-names.h"

#define NAME_TRIES 5u
/* For a command that is told to end, as docker stop has it. */
#define PATIENCE (10 * USEC_PER_SEC)
/* For a service that is being restarted, or a job on the VM that is not ours. */
#define END_TRIES 20u

static bool arg_rm = false, arg_detach = false, arg_interactive = false, arg_tty = false;
static const char *arg_name = NULL, *arg_user = NULL, *arg_owner = NULL;

/* What is given for the command, when it is executed rather than the VM's own. */
static const char *command_entrypoint = NULL;

typedef struct Run {
        sd_bus *bus;
        char *name;
        char *path; /* once the VM has been made */
} Run;

static void run_done(Run *c) {
        free(c->name);
        free(c->path);
        sd_bus_flush_close_unref(c->bus);
}

static char *make_name(void) {
        uint32_t number;

        if (getrandom(&number, sizeof(number), 0) != sizeof(number))
                number = (uint32_t) now_usec(CLOCK_REALTIME) ^ (uint32_t) getpid();
        return vm_name_make(arg_spec.image, number);
}

/* w was made before the call that reply answers, whose job it is to wait for. */
static int wait_for(const Run *c, JobWaiter *w, sd_bus_message *reply, const char *job, const char *doing) {
        _cleanup_free_ char *what = NULL;
        int r;

        what = strprintf("%s VM '%s'", doing, c->name);
        if (!what)
                return -ENOMEM;
        r = job_waiter_add(w, reply, job, c->path, doing, what);
        return r < 0 ? r : job_waiter_run(w);
}

static int make_waiter(const Run *c, JobWaiter **ret) {
        int r;

        r = job_waiter_new(c->bus, ret);
        if (r < 0)
                return report_error(r, NULL, "prepare for waiting");
        job_waiter_take_hangup(*ret);
        return 0;
}

/* With a name of our making, another one when it is taken. */
static int call_create(Run *c, sd_bus_message **ret) {
        for (unsigned i = 1;; i++) {
                _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                int r;

                if (!c->name)
                        c->name = arg_name ? strdup(arg_name) : make_name();
                if (!c->name)
                        return -ENOMEM;
                r = make_vm_call(c->bus, "CreateVM", c->name, NULL, &error, ret);
                if (r >= 0)
                        return 0;
                if (arg_name || i == NAME_TRIES || !sd_bus_error_has_name(&error, ERROR_VM_EXISTS))
                        return report_error(r, &error, "create VM '%s'", c->name);
                c->name = mfree(c->name);
        }
}

static int create(Run *c) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        const char *path, *job;
        int r;

        r = make_waiter(c, &w);
        if (r >= 0)
                r = call_create(c, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "oo", &path, &job);
        if (r < 0)
                return r;
        free(c->path);
        c->path = strdup(path);
        return c->path ? wait_for(c, w, reply, job, "create") : -ENOMEM;
}

static int start(Run *c) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        const char *job;
        int r;

        r = make_waiter(c, &w);
        if (r < 0)
                return r;
        r = vm_call(c->bus, c->path, "Start", &error, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &job);
        if (r < 0)
                return report_error(r, &error, "start VM '%s'", c->name);
        return wait_for(c, w, reply, job, "start");
}

static bool is_gone(const sd_bus_error *e) {
        return sd_bus_error_has_name(e, ERROR_NO_SUCH_VM) || sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_OBJECT);
}

/* -EAGAIN: worth another try in a while. */
static int try_end(Run *c, bool delete, bool last) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(job_waiter_freep) JobWaiter *w = NULL;
        const char *job;
        int r;

        if (!c->bus) {
                r = bus_connect(&c->bus);
                if (r < 0)
                        return r;
        }
        r = make_waiter(c, &w);
        if (r < 0)
                return r;
        job_waiter_set_firm(w);
        /* What is to be deleted needs no graceful end; what is kept may want to write its disk. */
        r = vm_call(c->bus, c->path, delete ? "Delete" : "Stop", &error, &reply, "t", (uint64_t) delete);
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &job);
        if (r >= 0)
                return wait_for(c, w, reply, job, delete ? "delete" : "stop");
        if (is_gone(&error) || (!delete && sd_bus_error_has_name(&error, ERROR_WRONG_STATE)))
                return 0;
        if (!last && (sd_bus_error_has_name(&error, ERROR_BUSY) || sd_bus_error_has_name(&error, SD_BUS_ERROR_NO_REPLY) ||
                      sd_bus_error_has_name(&error, SD_BUS_ERROR_SERVICE_UNKNOWN)))
                return -EAGAIN;
        return report_error(r, &error, "%s VM '%s'", delete ? "delete" : "stop", c->name);
}

/* Stops or deletes the VM, if there is one. 0 when that is done; otherwise said. */
static int end_vm(Run *c, bool delete) {
        int r = 0;

        if (!c->path)
                return 0;
        for (unsigned i = 1; i <= END_TRIES; i++) {
                r = try_end(c, delete, i == END_TRIES);
                if (r != -EAGAIN && r != -EHOSTUNREACH)
                        break;
                sleep(1);
        }
        if (r < 0)
                fprintf(stderr, "VM '%s' may still be there: 'heroctl delete %s' removes it.\n", c->name, c->name);
        return r;
}

/* A VM of which nothing has run is of use to nobody; one that could not start may be looked at. */
static int give_up(Run *c, bool delete, int r) {
        if (delete || arg_rm || r == -ECANCELED)
                (void) end_vm(c, true);
        else if (c->path)
                fprintf(stderr, "VM '%s' is kept; 'heroctl delete %s' removes it.\n", c->name, c->name);
        return r == -ECANCELED ? STATUS_SIGNAL + SIGINT : STATUS_EXEC;
}

/* By its digest: the tag may have moved since the VM was made. */
static int get_image(const Run *c, ImageProperties *ret) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *digest = NULL;
        int r;

        r = sd_bus_get_property_string(c->bus, HERO_SERVICE, c->path, HERO_VM, "ImageDigest", &error, &digest);
        if (r >= 0)
                r = image_properties_get(c->bus, isempty(digest) ? arg_spec.image : digest, ret, &error);
        return r < 0 ? report_error(r, &error, "find out what image '%s' runs", arg_spec.image) : 0;
}

/* Entrypoint and arguments, as docker run has them: of the image, or what was given; a shell when there is nothing. */
static int make_command(const ImageProperties *image, char *const *given, char ***ret) {
        _cleanup_strv_free_ char **words = NULL;
        int r;

        r = command_compose(command_entrypoint, image->entrypoint, given, image->cmd, &words);
        if (r >= 0 && !words)
                r = strv_extend(&words, "/bin/sh");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(words);
        return 0;
}

static int execute(Run *c, char *const *command, const ImageProperties *image) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_exec_session_ ExecSession *s = NULL;
        const char *user = arg_user ?: image->user;
        ExecSessionOptions o = {
                .interactive = arg_interactive,
                .tty = arg_tty,
                .user = isempty(user) ? NULL : user,
                .directory = arg_spec.directory, /* the VM's already, which falls back to / where it cannot be entered */
                .patience_usec = PATIENCE,
        };
        int r;

        r = exec_session_open(c->bus, c->path, c->name, command, &o, &s, &error);
        if (r < 0) {
                report_error(r, &error, "execute '%s' in VM '%s'", command[0], c->name);
                return STATUS_EXEC;
        }
        /* It may take long, and nobody reads meanwhile what the bus has to say. */
        c->bus = sd_bus_flush_close_unref(c->bus);
        polkit_agent_close(); /* it must not take what is typed to the command */
        return exec_session_run(s);
}

/* The command is to be the VM's own. */
static void leave_to_vm(char *const *given) {
        arg_spec.no_run = false;
        arg_spec.entrypoint = command_entrypoint;
        arg_spec.arguments = given;
        arg_spec.run_as = arg_user;
}

/* How the VM ended, when it did: its command's status; a machine that was shut down has done what it was to. */
static int own_status(Run *c, int fallback) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *reason = NULL;
        int32_t code;
        int r;

        r = bus_connect(&c->bus);
        if (r < 0)
                return STATUS_EXEC;
        /* The console ends a little before the VM has. */
        r = vm_call(c->bus, c->path, "Wait", &error, &reply, "ast", 1, "stopped", (uint64_t) PATIENCE);
        if (r >= 0)
                r = sd_bus_get_property_string(c->bus, HERO_SERVICE, c->path, HERO_VM, "ExitReason", &error, &reason);
        if (r >= 0)
                r = sd_bus_get_property_trivial(c->bus, HERO_SERVICE, c->path, HERO_VM, "ExitCode", &error, 'i', &code);
        if (r < 0) {
                report_error(r, &error, "find out how VM '%s' ended", c->name);
                return STATUS_EXEC;
        }
        if (code >= 0)
                return code;
        return streq(reason, "shutdown") || streq(reason, "stopped") ? 0 : fallback;
}

/* An init has to be the first process of its machine and writes to its console: the VM is made again to run it. */
static int run_on_console(Run *c, char *const *given) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_console_session_ ConsoleSession *console = NULL;
        bool left = false;
        int r, status;

        if (end_vm(c, true) < 0)
                return STATUS_EXEC;
        leave_to_vm(given);
        /* It ends by itself, and we ask how: it goes after that. */
        arg_spec.transient = false;
        r = create(c);
        if (r < 0)
                return give_up(c, true, r);
        r = start(c);
        if (r < 0)
                return give_up(c, false, r);
        r = console_session_open(c->bus, c->path, c->name, true, arg_interactive, &console, &error);
        if (r < 0) {
                report_error(r, &error, "open the console of VM '%s'", c->name);
                return give_up(c, true, r);
        }
        c->bus = sd_bus_flush_close_unref(c->bus);
        polkit_agent_close();
        status = console_session_run(console, &left);
        if (status < 0)
                status = STATUS_EXEC;
        if (status == 0 && !left)
                status = own_status(c, STATUS_EXEC);
        r = end_vm(c, arg_rm);
        return r < 0 && status == 0 ? STATUS_EXEC : status;
}

static int run_attached(Run *c, char *const *given) {
        _cleanup_image_properties_ ImageProperties image = {};
        _cleanup_strv_free_ char **command = NULL;
        int r, status;

        r = create(c);
        if (r >= 0)
                r = get_image(c, &image);
        if (r >= 0)
                r = make_command(&image, given, &command);
        if (r < 0)
                return give_up(c, true, r);
        if (is_init(command[0]))
                return run_on_console(c, given);
        r = start(c);
        if (r < 0)
                return give_up(c, false, r);
        status = execute(c, command, &image);
        r = end_vm(c, arg_rm);
        return r < 0 && status == 0 ? STATUS_EXEC : status;
}

/* Why a VM did not start: what its command would have had for an exit status, when it was the command; else 0. */
static int start_status(const Run *c) {
        _cleanup_free_ char *reason = NULL;
        int32_t code;

        if (sd_bus_get_property_string(c->bus, HERO_SERVICE, c->path, HERO_VM, "ExitReason", NULL, &reason) >= 0 &&
            streq(reason, "not-executed") &&
            sd_bus_get_property_trivial(c->bus, HERO_SERVICE, c->path, HERO_VM, "ExitCode", NULL, 'i', &code) >= 0 && code > 0)
                return code;
        return 0;
}

static int run_detached(Run *c) {
        int r, status;

        r = create(c);
        if (r < 0)
                return give_up(c, true, r);
        r = start(c);
        if (r < 0) {
                status = start_status(c); /* before it goes */
                r = give_up(c, false, r);
                return status ?: r;
        }
        r = make_vm_print(c->name, c->path, NULL);
        return r < 0 ? STATUS_EXEC : 0;
}

static int check_options(char *const *given) {
        if (arg_detach && (arg_interactive || arg_tty)) {
                fprintf(stderr, "--detach leaves the VM to itself: leave out -i and -t, or use 'heroctl exec -it' later.\n");
                return -EINVAL;
        }
        arg_spec.user = arg_owner;
        command_entrypoint = arg_spec.entrypoint;
        arg_spec.entrypoint = NULL;
        arg_spec.no_run = true;
        arg_spec.transient = arg_rm;
        if (arg_detach)
                leave_to_vm(given);
        return 0;
}

static int run(int argc, char **argv) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        _cleanup_(run_done) Run c = {};
        char **given = argv + 1;
        int r;

        if (given[0] && streq(given[0], "--"))
                given++;
        arg_spec.image = argv[0];
        if (spec_check(NULL) < 0 || check_options(given) < 0)
                return STATUS_EXEC;
        /* From here on they wait for the next one who looks after them: a VM that has been made is never left behind. */
        r = signals_block(signals, ELEMENTSOF(signals));
        if (r >= 0)
                r = bus_connect(&c.bus);
        if (r >= 0)
                r = arg_detach ? run_detached(&c) : run_attached(&c, given);
        arg_spec.environment = strv_free(arg_spec.environment);
        return r < 0 ? STATUS_EXEC : r;
}

static const Option options[] = {
        { 'd', "detach", NULL, OPTION_FLAG, &arg_detach, "Leave it running, print the VM's name" },
        { 'i', "interactive", NULL, OPTION_FLAG, &arg_interactive, "Pass standard input on" },
        { 't', "tty", NULL, OPTION_FLAG, &arg_tty, "Give the command a terminal" },
        { 0, "rm", NULL, OPTION_FLAG, &arg_rm, "Delete the VM afterwards" },
        { 'n', "name", "NAME", OPTION_STRING, &arg_name, "Name of the VM, else one is made up" },
        { 'u', "user", "USER[:GROUP]", OPTION_STRING, &arg_user, "User of the guest to run as, else the image's" },
        { 0, "owner", "USER", OPTION_STRING, &arg_owner, "User id that owns the VM" },
        SPEC_RUN_OPTIONS,
        SPEC_MACHINE_OPTIONS,
        {},
};

const Verb verb_run = {
        .name = "run",
        .arguments = "IMAGE [COMMAND…]",
        .summary = "Run a command in a new VM of an image",
        .help = "\nMakes a VM, starts it, runs the image's command or the one given (behind the image's entrypoint, if it has\n"
                "one), and exits with its status: 128 + N when signal N killed it, 127 when it was not found, 126 when it\n"
                "could not be executed, 125 when anything failed before that. Then the VM is stopped, with --rm deleted.\n"
                "Options stand before the image.\n",
        .options = options,
        .min = 1,
        .max = -1,
        .options_first = true,
        .usage_status = STATUS_EXEC,
        .run = run,
};
