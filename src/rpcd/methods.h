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

void method_vm_exec(Call *c);
void method_vm_logs(Call *c);
void method_vm_console_endpoint(Call *c);
void method_vm_wait(Call *c);
void method_vm_set_resources(Call *c);
void method_vm_suspend(Call *c);
void method_vm_hibernate(Call *c);
void method_vm_resume(Call *c);
void method_vm_metrics_query(Call *c);
void method_events_tail(Call *c);
void method_image_list(Call *c);
void method_image_pull(Call *c);
void method_image_import(Call *c);
void method_image_delete(Call *c);
void method_audit_query(Call *c);
