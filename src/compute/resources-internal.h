/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between resources.c and the files of the single resources. */

#include "compute/resources.h"

void resources_wait(Vm *vm, VmQueue *queue);
void resources_wake(VmQueue *queue, int error, const char *text);

void images_done(Manager *m);
void templates_done(Manager *m);
void boot_files_done(Manager *m);
void accelerator_done(Manager *m);
int images_register(Manager *m);
