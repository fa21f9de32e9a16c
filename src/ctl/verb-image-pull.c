/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl image pull: asks the image service to fetch an image from its registry, and waits for that. */

#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/image-job.h"
#include "ctl/spec.h"
#include "ctl/vm-job.h"

static const char *arg_platform = NULL;

static int call(ImageJob *j, sd_bus *bus, const char *reference, sd_bus_error *error, const char **ret_job) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Pull");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", reference);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && arg_platform)
                r = append_variant(m, "Platform", "s", arg_platform);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : image_job_call(j, m, error, ret_job);
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_image_job_ ImageJob *j = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        const char *job, *digest;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = image_job_new(bus, "pull", "Pulling", argv[0], true, &j);
        if (r >= 0)
                r = call(j, bus, argv[0], &error, &job);
        if (r < 0)
                return report_error(r, &error, "pull image '%s'", argv[0]);
        if (arg_no_wait)
                return image_job_print(argv[0], NULL, job);
        r = image_job_run(j, &digest);
        return r < 0 ? r : image_job_print(argv[0], digest, NULL);
}

static const Option options[] = {
        { 0, "platform", "OS/ARCH", OPTION_STRING, &arg_platform, "Of an image for several: this one" },
        { 0, "no-wait", NULL, OPTION_FLAG, &arg_no_wait, "Do not wait, print the job's object path" },
        {},
};

const Verb verb_image_pull = {
        .name = "image pull",
        .arguments = "IMAGE",
        .summary = "Fetch an image from its registry",
        .help = "\nIMAGE is [REGISTRY[:PORT]/]PATH[:TAG][@DIGEST]; a plain NAME is docker.io/library/NAME. The tag is asked\n"
                "for anew each time; what is here already is not fetched again.\n",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
