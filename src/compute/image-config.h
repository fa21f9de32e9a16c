/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an image says about how it is to be run, as hero-imaged tells it (config of Images.Open()). Owned by the VM, which
 * keeps it in its record from the day it was made: a tag that moves later changes nothing for it. All of it is the word of
 * whoever made the image. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

#define IMAGE_USER_MAX 256u

typedef struct VmImageConfig {
        char **entrypoint, **cmd, **environment; /* NULL: none */
        char *user, *working_directory, *stop_signal; /* NULL: not said */
} VmImageConfig;

void vm_image_config_done(VmImageConfig *c);

/* -EUCLEAN with a sentence in *ret_why: too much, or not what it should be. */
int vm_image_config_check(const VmImageConfig *c, char **ret_why);

/* Reads the a{sv}; an unknown key is skipped (a newer hero-imaged). Errors as above. */
int vm_image_config_read(sd_bus_message *m, VmImageConfig *ret, char **ret_why);

int vm_image_config_copy(const VmImageConfig *c, VmImageConfig *ret);
