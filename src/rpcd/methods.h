/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The handlers, for the table in method.c; their parameters and results are documented there. */

typedef struct Call Call;

void method_info(Call *c);
void method_health(Call *c);
void method_discover(Call *c);

void method_vm_list(Call *c);
void method_vm_get(Call *c);
void method_vm_create(Call *c);
void method_vm_start(Call *c);
void method_vm_stop(Call *c);
void method_vm_restart(Call *c);
void method_vm_delete(Call *c);

void method_user_provision(Call *c);
void method_user_deprovision(Call *c);
void method_user_vm(Call *c);
void method_user_start(Call *c);
void method_user_stop(Call *c);
void method_user_list(Call *c);

void method_job_get(Call *c);
void method_job_cancel(Call *c);
