/* SPDX-License-Identifier: Apache-2.0 */

/* What the methods answer, as JSON Schema. Vm and UserVm are the seed's data models, and detail_state. Whoever adds a result to the
 * table of methods adds its schema here; a test looks that each is there and that answers are of it. */

#include "rpcd/openrpc.h"

#define TIME "{\"type\":[\"string\",\"null\"],\"format\":\"date-time\"}"
#define TEXT "{\"type\":\"string\"}"
#define TEXT_OR_NULL "{\"type\":[\"string\",\"null\"]}"
#define INTEGER "{\"type\":\"integer\"}"
#define INTEGER_OR_NULL "{\"type\":[\"integer\",\"null\"]}"
#define NUMBER_OR_NULL "{\"type\":[\"number\",\"null\"]}"
#define BOOLEAN "{\"type\":\"boolean\"}"
#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"
#define ID "{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{12}$\"}"
#define STATE REF("State")
#define DETAIL_STATE REF("DetailState")
/* Of those that long calls answer with instead, when they are not to wait. */
#define OR_JOB(name) "{\"oneOf\":[" REF(name) "," REF("JobStarted") "]}"

const char openrpc_schemas[] =
        "{"
        "\"State\":{\"type\":\"string\",\"enum\":[\"created\",\"running\",\"stopped\",\"failed\"]},"
        "\"DetailState\":{\"type\":\"string\",\"enum\":[\"pending\",\"provisioning\",\"configured\",\"starting\",\"running\","
        "\"suspending\",\"suspended\",\"hibernating\",\"hibernated\",\"resuming\",\"stopping\",\"stopped\",\"start-failed\","
        "\"failed\"]},"

        "\"Resources\":{\"type\":\"object\",\"required\":[\"cpu_count\",\"memory_mb\",\"disk_gb\"],\"properties\":{"
        "\"cpu_count\":" INTEGER ",\"memory_mb\":" INTEGER ",\"disk_gb\":{\"type\":\"number\"}}},"

        "\"VmModel\":{\"type\":\"object\",\"required\":[\"id\",\"name\",\"state\",\"detail_state\",\"image\",\"resources\","
        "\"mycelium_ip\",\"tap_device\",\"ip_address\",\"created_at\",\"started_at\",\"stopped_at\"],\"properties\":{"
        "\"id\":" ID ",\"name\":" TEXT ",\"state\":" STATE ",\"detail_state\":" DETAIL_STATE ",\"image\":" TEXT ","
        "\"resources\":" REF("Resources") ",\"mycelium_ip\":" TEXT_OR_NULL ",\"tap_device\":" TEXT_OR_NULL ","
        "\"ip_address\":" TEXT_OR_NULL ",\"created_at\":" TIME ",\"started_at\":" TIME ",\"stopped_at\":" TIME "}},"
        "\"Vm\":" OR_JOB("VmModel") ","
        "\"VmList\":{\"type\":\"array\",\"items\":" REF("VmModel") "},"

        "\"UserVmModel\":{\"type\":\"object\",\"required\":[\"user_id\",\"vm_id\",\"vm_name\",\"mycelium_ip\",\"state\",\"detail_state\","
        "\"resources\",\"image\",\"created_at\",\"started_at\",\"stopped_at\",\"last_activity\"],\"properties\":{"
        "\"user_id\":" TEXT ",\"vm_id\":" ID ",\"vm_name\":" TEXT ",\"mycelium_ip\":" TEXT_OR_NULL ",\"state\":" STATE ","
        "\"detail_state\":" DETAIL_STATE ",\"resources\":" REF("Resources") ",\"image\":" TEXT ",\"created_at\":" TIME ","
        "\"started_at\":" TIME ",\"stopped_at\":" TIME ",\"last_activity\":" TIME "}},"
        "\"UserVm\":" OR_JOB("UserVmModel") ","
        "\"UserVmList\":{\"type\":\"array\",\"items\":" REF("UserVmModel") "},"

        "\"DeletedModel\":{\"type\":\"object\",\"required\":[\"deleted\",\"vm_id\"],\"properties\":{\"deleted\":" BOOLEAN ","
        "\"vm_id\":" ID ",\"user_id\":" TEXT "}},"
        "\"Deleted\":" OR_JOB("DeletedModel") ","

        "\"JobStarted\":{\"type\":\"object\",\"required\":[\"job_id\"],\"properties\":{\"job_id\":" TEXT ",\"vm_id\":" TEXT_OR_NULL "}},"
        "\"Job\":{\"type\":\"object\",\"required\":[\"job_id\",\"state\",\"error\"],\"properties\":{\"job_id\":" TEXT ","
        "\"vm_id\":" TEXT_OR_NULL ",\"vm_name\":" TEXT ",\"reference\":" TEXT ",\"state\":{\"type\":\"string\",\"enum\":[\"running\",\"done\",\"canceled\","
        "\"failed\"]},\"type\":" TEXT_OR_NULL ",\"step\":" TEXT_OR_NULL ",\"progress\":{\"type\":\"object\",\"properties\":{"
        "\"done\":" INTEGER ",\"total\":" INTEGER "}},\"error\":{\"type\":[\"object\",\"null\"]}}},"
        "\"Canceled\":{\"type\":\"object\",\"required\":[\"job_id\",\"canceled\"],\"properties\":{\"job_id\":" TEXT ",\"canceled\":" BOOLEAN "}},"

        "\"ExecResult\":{\"type\":\"object\",\"required\":[\"exit_code\",\"signal\",\"truncated\",\"timed_out\"],\"properties\":{"
        "\"exit_code\":" INTEGER_OR_NULL ",\"signal\":" INTEGER_OR_NULL ",\"stdout\":" TEXT ",\"stdout_base64\":" TEXT ","
        "\"stderr\":" TEXT ",\"stderr_base64\":" TEXT ",\"truncated\":" BOOLEAN ",\"timed_out\":" BOOLEAN ",\"error\":" TEXT "}},"
        "\"VmLogs\":{\"type\":\"object\",\"required\":[\"vm_id\",\"text\"],\"properties\":{\"vm_id\":" ID ",\"text\":" TEXT "}},"
        "\"VmConsole\":{\"type\":\"object\",\"required\":[\"vm_id\",\"endpoint\"],\"properties\":{\"vm_id\":" ID ","
        "\"endpoint\":{\"type\":\"string\",\"pattern\":\"^unix:/\"}}},"
        "\"VmWait\":{\"type\":\"object\",\"required\":[\"vm_id\",\"state\",\"detail_state\",\"reason\",\"timed_out\"],\"properties\":{"
        "\"vm_id\":" ID ",\"state\":" STATE ",\"detail_state\":" DETAIL_STATE ",\"reason\":" TEXT ",\"timed_out\":" BOOLEAN "}},"
        "\"MetricPoint\":{\"type\":\"object\",\"required\":[\"timestamp\"],\"properties\":{\"timestamp\":" TIME ","
        "\"cpu_percent\":" NUMBER_OR_NULL ",\"memory_bytes\":" NUMBER_OR_NULL ","
        "\"memory_max_bytes\":" NUMBER_OR_NULL ",\"network_receive_bytes_per_second\":" NUMBER_OR_NULL ","
        "\"network_transmit_bytes_per_second\":" NUMBER_OR_NULL ",\"network_receive_packets_per_second\":" NUMBER_OR_NULL ","
        "\"network_transmit_packets_per_second\":" NUMBER_OR_NULL ",\"disk_read_bytes_per_second\":" NUMBER_OR_NULL ","
        "\"disk_write_bytes_per_second\":" NUMBER_OR_NULL ",\"disk_reads_per_second\":" NUMBER_OR_NULL ","
        "\"disk_writes_per_second\":" NUMBER_OR_NULL ",\"cpu_pressure_percent\":" NUMBER_OR_NULL ","
        "\"memory_pressure_percent\":" NUMBER_OR_NULL ",\"io_pressure_percent\":" NUMBER_OR_NULL "}},"
        "\"VmMetrics\":{\"type\":\"object\",\"required\":[\"vm_id\",\"interval_secs\",\"points\"],\"properties\":{\"vm_id\":" ID ","
        "\"interval_secs\":{\"type\":\"number\"},\"points\":{\"type\":\"array\",\"items\":" REF("MetricPoint") "}}},"
        "\"Event\":{\"type\":\"object\",\"required\":[\"sequence\",\"timestamp\",\"vm_id\",\"vm_name\",\"from\",\"to\",\"reason\"],"
        "\"properties\":{\"sequence\":" INTEGER ",\"timestamp\":" TIME ",\"vm_id\":" TEXT_OR_NULL ",\"vm_name\":" TEXT ","
        "\"from\":" DETAIL_STATE ",\"to\":" DETAIL_STATE ",\"reason\":" TEXT "}},"
        "\"Events\":{\"type\":\"object\",\"required\":[\"events\",\"next\",\"lost\"],\"properties\":{\"events\":{\"type\":\"array\","
        "\"items\":" REF("Event") "},\"next\":" INTEGER ",\"lost\":" INTEGER "}},"

        "\"ImageModel\":{\"type\":\"object\",\"required\":[\"reference\",\"digest\",\"platform\",\"size_bytes\",\"created_at\"],"
        "\"properties\":{\"reference\":" TEXT ",\"digest\":" TEXT_OR_NULL ",\"platform\":" TEXT_OR_NULL ",\"size_bytes\":" INTEGER ","
        "\"created_at\":" TIME "}},"
        "\"Image\":" OR_JOB("ImageModel") ","
        "\"ImageList\":{\"type\":\"array\",\"items\":" REF("ImageModel") "},"
        "\"ImageDeleted\":{\"type\":\"object\",\"required\":[\"deleted\",\"reference\"],\"properties\":{\"deleted\":" BOOLEAN ","
        "\"reference\":" TEXT "}},"

        "\"AuditEntry\":{\"type\":\"object\",\"required\":[\"timestamp\",\"road\",\"uid\",\"subject\",\"action\",\"vm\",\"user_id\","
        "\"result\",\"error\",\"duration_ms\"],\"properties\":{\"timestamp\":" TIME ",\"road\":" TEXT_OR_NULL ",\"uid\":" INTEGER_OR_NULL ","
        "\"subject\":" TEXT_OR_NULL ",\"action\":" TEXT_OR_NULL ",\"vm\":" TEXT_OR_NULL ",\"user_id\":" TEXT_OR_NULL ","
        "\"image\":" TEXT_OR_NULL ",\"result\":" TEXT_OR_NULL ",\"error\":" TEXT_OR_NULL ",\"duration_ms\":{\"type\":\"number\"}}},"
        "\"AuditEntries\":{\"type\":\"array\",\"items\":" REF("AuditEntry") "},"

        "\"Health\":{\"type\":\"object\",\"required\":[\"status\",\"service\",\"version\"],\"properties\":{\"status\":" TEXT ","
        "\"service\":" TEXT ",\"version\":" TEXT "}},"
        "\"Info\":{\"type\":\"object\",\"required\":[\"name\",\"version\",\"driver\",\"mycelium\",\"capacity\",\"vms\"],\"properties\":{"
        "\"name\":" TEXT ",\"version\":" TEXT ",\"driver\":" TEXT_OR_NULL ",\"accelerator\":" TEXT_OR_NULL ","
        "\"mycelium\":{\"type\":\"object\"},\"capacity\":{\"type\":\"object\"},\"vms\":{\"type\":\"object\"}}},"
        "\"Document\":{\"type\":\"object\",\"required\":[\"openrpc\",\"info\",\"methods\"]}"
        "}";
