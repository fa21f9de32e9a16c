// SPDX-License-Identifier: Apache-2.0

// Made by tools/generate-sdk of docs/schemas/openrpc.json.

import type { CallOptions } from '../index.js';

// What methods answer.

export type State = 'created' | 'running' | 'stopped' | 'failed';

export type DetailState =
  | 'pending'
  | 'provisioning'
  | 'configured'
  | 'starting'
  | 'running'
  | 'suspending'
  | 'suspended'
  | 'hibernating'
  | 'hibernated'
  | 'resuming'
  | 'stopping'
  | 'stopped'
  | 'start-failed'
  | 'failed';

export interface Resources {
  cpu_count: number;
  memory_mb: number;
  disk_gb: number;
}

export interface VmModel {
  id: string;
  name: string;
  state: State;
  detail_state: DetailState;
  image: string;
  resources: Resources;
  mycelium_ip: string | null;
  tap_device: string | null;
  ip_address: string | null;
  created_at: string | null;
  started_at: string | null;
  stopped_at: string | null;
}

export type Vm = VmModel | JobStarted;

export type VmList = VmModel[];

export interface UserVmModel {
  user_id: string;
  vm_id: string;
  vm_name: string;
  mycelium_ip: string | null;
  state: State;
  detail_state: DetailState;
  resources: Resources;
  image: string;
  created_at: string | null;
  started_at: string | null;
  stopped_at: string | null;
  last_activity: string | null;
}

export type UserVm = UserVmModel | JobStarted;

export type UserVmList = UserVmModel[];

export interface DeletedModel {
  deleted: boolean;
  vm_id: string;
  user_id?: string;
}

export type Deleted = DeletedModel | JobStarted;

export interface JobStarted {
  job_id: string;
  vm_id?: string | null;
}

export interface Job {
  job_id: string;
  vm_id?: string | null;
  vm_name?: string;
  reference?: string;
  state: 'running' | 'done' | 'canceled' | 'failed';
  type?: string | null;
  step?: string | null;
  progress?: {
    done?: number;
    total?: number;
  };
  error: Record<string, unknown> | null;
}

export interface Canceled {
  job_id: string;
  canceled: boolean;
}

export interface ExecResult {
  exit_code: number | null;
  signal: number | null;
  stdout?: string;
  stdout_base64?: string;
  stderr?: string;
  stderr_base64?: string;
  truncated: boolean;
  timed_out: boolean;
  error?: string;
}

export interface VmLogs {
  vm_id: string;
  text: string;
}

export interface VmConsole {
  vm_id: string;
  endpoint: string;
}

export interface VmWait {
  vm_id: string;
  state: State;
  detail_state: DetailState;
  reason: string;
  timed_out: boolean;
}

export interface MetricPoint {
  timestamp: string | null;
  cpu_percent?: number | null;
  memory_bytes?: number | null;
  memory_max_bytes?: number | null;
  network_receive_bytes_per_second?: number | null;
  network_transmit_bytes_per_second?: number | null;
  network_receive_packets_per_second?: number | null;
  network_transmit_packets_per_second?: number | null;
  disk_read_bytes_per_second?: number | null;
  disk_write_bytes_per_second?: number | null;
  disk_reads_per_second?: number | null;
  disk_writes_per_second?: number | null;
  cpu_pressure_percent?: number | null;
  memory_pressure_percent?: number | null;
  io_pressure_percent?: number | null;
}

export interface VmMetrics {
  vm_id: string;
  interval_secs: number;
  points: MetricPoint[];
}

export interface Event {
  sequence: number;
  timestamp: string | null;
  vm_id: string | null;
  vm_name: string;
  from: DetailState;
  to: DetailState;
  reason: string;
}

export interface Events {
  events: Event[];
  next: number;
  lost: number;
}

export interface ImageModel {
  reference: string;
  digest: string | null;
  platform: string | null;
  size_bytes: number;
  created_at: string | null;
}

export type Image = ImageModel | JobStarted;

export type ImageList = ImageModel[];

export interface ImageDeleted {
  deleted: boolean;
  reference: string;
}

export interface AuditEntry {
  timestamp: string | null;
  road: string | null;
  uid: number | null;
  subject: string | null;
  action: string | null;
  vm: string | null;
  user_id: string | null;
  image?: string | null;
  result: string | null;
  error: string | null;
  duration_ms: number;
}

export type AuditEntries = AuditEntry[];

export interface Health {
  status: string;
  service: string;
  version: string;
}

export interface Info {
  name: string;
  version: string;
  driver: string | null;
  accelerator?: string | null;
  mycelium: Record<string, unknown>;
  capacity: Record<string, unknown>;
  vms: Record<string, unknown>;
}

export interface Document {
  openrpc: unknown;
  info: unknown;
  methods: unknown;
  [name: string]: unknown;
}

// What they take.

export type NoParams = Record<string, never>;

/** Parameters of vm.get. */
export interface VmGetParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
}

/** Parameters of vm.create. */
export interface VmCreateParams {
  /** Of the new VM: [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])? */
  name: string;
  /** NAME[:TAG] or digest (default: compute.conf's). */
  image?: string;
  /** CPUs (default: compute.conf's). 1 to 64. */
  cpu_count?: number;
  /** Memory in MiB (default: compute.conf's). 64 to 1048576. */
  memory_mb?: number;
  /** Disk in GiB, a fraction is rounded up to MiB (default: compute.conf's). 0 to 15360. */
  disk_gb?: number;
  /** The three above, as in the data model; those beside it go over it. */
  resources?: {
    cpu_count?: number;
    memory_mb?: number;
    disk_gb?: number;
  };
  /** "qemu" or "mock" (default: compute.conf's). */
  hypervisor?: string;
  /** Run in place of all that the image says. */
  command?: string[];
  /** NAME=VALUE, over the image's by name. */
  env?: string[];
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.start. */
export interface VmStartParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.stop. */
export interface VmStopParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** Without asking the guest (default: false). */
  force?: boolean;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.restart. */
export interface VmRestartParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.delete. */
export interface VmDeleteParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** Without asking the guest (default: false). */
  force?: boolean;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.suspend. */
export interface VmSuspendParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.hibernate. */
export interface VmHibernateParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.resume. */
export interface VmResumeParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of vm.set_resources. */
export interface VmSetResourcesParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** CPUs. 1 to 64. */
  cpu_count?: number;
  /** Memory in MiB. 64 to 1048576. */
  memory_mb?: number;
  /** Disk in GiB, a fraction is rounded up to MiB; it only grows. 0 to 15360. */
  disk_gb?: number;
  /** Share of CPU time where it is short, against 100 of the others. 1 to 10000. */
  cpu_weight?: number;
  /** Share of the disk, likewise. 1 to 10000. */
  io_weight?: number;
  /** Bytes a second that it may receive, 1024 or more; -1: no limit. -1 to 1099511627776. */
  receive_max?: number;
  /** Bytes a second that it may send, likewise. -1 to 1099511627776. */
  transmit_max?: number;
}

/** Parameters of vm.exec. */
export interface VmExecParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** The program, looked for in the guest's $PATH, and its arguments; no shell. */
  command: string[];
  /** NAME=VALUE, over the environment of the image and the VM. */
  env?: string[];
  /** Absolute path in the guest (default: as the VM's own command). */
  cwd?: string;
  /** USER[:GROUP], names of the guest or numbers (default: root). */
  user?: string;
  /** What the command reads (default: nothing). */
  stdin?: string;
  /** After so many seconds the command is ended (default: 60). 1 to 3600. */
  timeout_secs?: number;
}

/** Parameters of vm.logs. */
export interface VmLogsParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** At most so many of the last bytes (default: 65536; with lines 1048576). 1 to 1048576. */
  bytes?: number;
  /** At most so many of the last lines. 1 to 1048576. */
  lines?: number;
}

/** Parameters of vm.console.endpoint. */
export interface VmConsoleEndpointParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
}

/** Parameters of vm.wait. */
export interface VmWaitParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** Any of these detail states; "agent": commands can be run (default: running). */
  states?: string[];
  /** One more of them. */
  state?: string;
  /** How many seconds to wait (default: 60). 0 to 3600. */
  timeout_secs?: number;
}

/** Parameters of vm.metrics.query. */
export interface VmMetricsQueryParams {
  /** 12-digit id or name of the VM. */
  vm_id: string;
  /** Time like 2026-11-21T11:20:12Z, or seconds since 1970 (default: an hour before to). */
  from?: string;
  /** Not included (default: now). */
  to?: string;
  /** Seconds from one point to the next (default: as fine as it is kept). 1 to 31622400. */
  step?: number;
  /** Only this one (default: all). */
  metric?: string;
}

/** Parameters of events.tail. */
export interface EventsTailParams {
  /** Only those with a higher sequence number (default: the last ones there are). 0 to 9007199254740992. */
  since?: number;
  /** Of this VM only: 12-digit id or name. */
  vm_id?: string;
  /** At most so many (default: 100). 1 to 1000. */
  limit?: number;
  /** Where there is none, how many seconds to wait for one (default: 0). 0 to 60. */
  timeout_secs?: number;
}

/** Parameters of user.provision. */
export interface UserProvisionParams {
  /** Whose VM: 1 to 64 characters of A-Za-z0-9._@-. */
  user_id: string;
  /** Of the VM (default: made from the user's id). */
  name?: string;
  /** NAME[:TAG] or digest (default: compute.conf's). */
  image?: string;
  /** CPUs (default: compute.conf's). 1 to 64. */
  cpu_count?: number;
  /** Memory in MiB (default: compute.conf's). 64 to 1048576. */
  memory_mb?: number;
  /** Disk in GiB, a fraction is rounded up to MiB (default: compute.conf's). 0 to 15360. */
  disk_gb?: number;
  /** The three above, as in the data model; those beside it go over it. */
  resources?: {
    cpu_count?: number;
    memory_mb?: number;
    disk_gb?: number;
  };
  /** "qemu" or "mock" (default: compute.conf's). */
  hypervisor?: string;
  /** Run in place of all that the image says. */
  command?: string[];
  /** NAME=VALUE, over the image's by name. */
  env?: string[];
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of user.deprovision. */
export interface UserDeprovisionParams {
  /** Whose VM: 1 to 64 characters of A-Za-z0-9._@-. */
  user_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of user.vm. */
export interface UserVmParams {
  /** Whose VM: 1 to 64 characters of A-Za-z0-9._@-. */
  user_id: string;
}

/** Parameters of user.start. */
export interface UserStartParams {
  /** Whose VM: 1 to 64 characters of A-Za-z0-9._@-. */
  user_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of user.stop. */
export interface UserStopParams {
  /** Whose VM: 1 to 64 characters of A-Za-z0-9._@-. */
  user_id: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of image.pull. */
export interface ImagePullParams {
  /** [REGISTRY/]NAME[:TAG][@DIGEST] */
  reference: string;
  /** Such as linux/amd64 (default: the host's). */
  platform?: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of image.import. */
export interface ImageImportParams {
  /** Absolute path of a regular file that hero-rpcd may read, so not in /tmp or a home. */
  path: string;
  /** NAME[:TAG] (default: the file's name). */
  reference?: string;
  /** Such as linux/amd64 (default: the host's). */
  platform?: string;
  /** false: answers with a job at once, see job.get (default: true). */
  wait?: boolean;
}

/** Parameters of image.delete. */
export interface ImageDeleteParams {
  /** NAME[:TAG], or a digest for all references of an image. */
  reference: string;
}

/** Parameters of job.get. */
export interface JobGetParams {
  /** As a call with "wait": false answered. */
  job_id: string;
}

/** Parameters of job.cancel. */
export interface JobCancelParams {
  /** As a call with "wait": false answered. */
  job_id: string;
}

/** Parameters of audit.query. */
export interface AuditQueryParams {
  /** What was done to this user's VM; who is no administrator sees the own one's only. */
  user_id?: string;
  /** What was done to this VM: 12-digit id or name; name where it is gone. */
  vm_id?: string;
  /** "user.start", "VM.Start" on the bus; with *, ? and [ as in glob(7). */
  action?: string;
  /** "2026-11-21T12:00:00Z", or how long ago: "1h". */
  since?: string;
  /** Likewise. */
  until?: string;
  /** The last so many (default: 100). 1 to 1000. */
  limit?: number;
}

/** `name` of a HeroComputeError, but those of JSON-RPC itself. */
export type ErrorName =
  | 'AgentTimeout'
  | 'AmbiguousName'
  | 'BadImage'
  | 'BadMemoryImage'
  | 'BootFailed'
  | 'Busy'
  | 'Canceled'
  | 'ImageInUse'
  | 'ImportFailed'
  | 'InternalError'
  | 'InvalidArgument'
  | 'LimitExceeded'
  | 'NoAccelerator'
  | 'NoAgent'
  | 'NoCapacity'
  | 'NoHypervisor'
  | 'NoKernel'
  | 'NoSuchImage'
  | 'NoSuchJob'
  | 'NoSuchUser'
  | 'NoSuchVM'
  | 'NotCancelable'
  | 'NotSupported'
  | 'PermissionDenied'
  | 'PullFailed'
  | 'ScopeFailed'
  | 'ServiceUnavailable'
  | 'UserHasVM'
  | 'VMExists'
  | 'VMMFailed'
  | 'WrongState';

/** Each where its name says. */
export interface Methods {
  /**
   * What this host is and has.
   * For users who are known; who is no administrator sees what is his own.
   */
  info(params?: NoParams, options?: CallOptions): Promise<Info>;
  /**
   * That the service answers.
   * For everybody.
   */
  health(params?: NoParams, options?: CallOptions): Promise<Health>;
  readonly rpc: {
    /**
     * This document.
     * For everybody.
     */
    discover(params?: NoParams, options?: CallOptions): Promise<Document>;
  };
  readonly vm: {
    /**
     * All VMs; for who is no administrator the own one.
     * For users who are known; who is no administrator sees what is his own.
     */
    list(params?: NoParams, options?: CallOptions): Promise<VmList>;
    /**
     * A VM.
     * For administrators, and for the user whose VM it is.
     */
    get(params: VmGetParams, options?: CallOptions): Promise<VmModel>;
    /**
     * Makes a VM without starting it.
     * For administrators.
     */
    create(params: VmCreateParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    create(params: VmCreateParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    create(params: VmCreateParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Starts a VM, or wakes it. One that runs is left alone.
     * For administrators, and for the user whose VM it is.
     */
    start(params: VmStartParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    start(params: VmStartParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    start(params: VmStartParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Shuts a VM down.
     * For administrators, and for the user whose VM it is.
     */
    stop(params: VmStopParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    stop(params: VmStopParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    stop(params: VmStopParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Stops a VM and starts it.
     * For administrators, and for the user whose VM it is.
     */
    restart(params: VmRestartParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    restart(params: VmRestartParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    restart(params: VmRestartParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Stops a VM and removes it with its disk.
     * For administrators, and for the user whose VM it is.
     */
    delete(params: VmDeleteParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    delete(params: VmDeleteParams & { wait?: true }, options?: CallOptions): Promise<DeletedModel>;
    delete(params: VmDeleteParams, options?: CallOptions): Promise<DeletedModel | JobStarted>;
    /**
     * Pauses a running VM in memory: no CPU time until it is resumed.
     * For administrators, and for the user whose VM it is.
     */
    suspend(params: VmSuspendParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    suspend(params: VmSuspendParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    suspend(params: VmSuspendParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Suspends a VM and saves it to the disk: no memory and no process until it is resumed.
     * For administrators, and for the user whose VM it is.
     */
    hibernate(params: VmHibernateParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    hibernate(params: VmHibernateParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    hibernate(params: VmHibernateParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Lets a VM that sleeps go on where it was.
     * For administrators, and for the user whose VM it is.
     */
    resume(params: VmResumeParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    resume(params: VmResumeParams & { wait?: true }, options?: CallOptions): Promise<VmModel>;
    resume(params: VmResumeParams, options?: CallOptions): Promise<VmModel | JobStarted>;
    /**
     * Weights and limits act at once; the guest sees other CPUs, memory and disk at its next start.
     * For administrators, and for the user whose VM it is.
     */
    set_resources(params: VmSetResourcesParams, options?: CallOptions): Promise<VmModel>;
    /**
     * Runs a command in the guest, waking it, and waits for the end; of each output the first MiB is kept.
     * For administrators, and for the user whose VM it is.
     */
    exec(params: VmExecParams, options?: CallOptions): Promise<ExecResult>;
    /**
     * What the guest wrote to its console, as far as it is kept; what is not UTF-8 is U+FFFD.
     * For administrators, and for the user whose VM it is.
     */
    logs(params: VmLogsParams, options?: CallOptions): Promise<VmLogs>;
    readonly console: {
      /**
       * A Unix socket that is the console, for root, administrators and the owner, while it is used.
       * For administrators, and for the user whose VM it is.
       */
      endpoint(params: VmConsoleEndpointParams, options?: CallOptions): Promise<VmConsole>;
    };
    /**
     * Waits until a VM is in a state, or has failed.
     * For administrators, and for the user whose VM it is.
     */
    wait(params: VmWaitParams, options?: CallOptions): Promise<VmWait>;
    readonly metrics: {
      /**
       * What a VM used, in points of time.
       * For administrators, and for the user whose VM it is.
       */
      query(params: VmMetricsQueryParams, options?: CallOptions): Promise<VmMetrics>;
    };
  };
  readonly events: {
    /**
     * Transitions of VMs, oldest first; for who is no administrator of the own one.
     * For users who are known; who is no administrator sees what is his own.
     */
    tail(params?: EventsTailParams, options?: CallOptions): Promise<Events>;
  };
  readonly user: {
    /**
     * Makes and starts the VM of a user; who has one of the same spec gets it back, started.
     * For administrators, and for the user whose VM it is.
     */
    provision(params: UserProvisionParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    provision(params: UserProvisionParams & { wait?: true }, options?: CallOptions): Promise<UserVmModel>;
    provision(params: UserProvisionParams, options?: CallOptions): Promise<UserVmModel | JobStarted>;
    /**
     * Stops a user's VM and removes it with its disk.
     * For administrators, and for the user whose VM it is.
     */
    deprovision(params: UserDeprovisionParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    deprovision(params: UserDeprovisionParams & { wait?: true }, options?: CallOptions): Promise<DeletedModel>;
    deprovision(params: UserDeprovisionParams, options?: CallOptions): Promise<DeletedModel | JobStarted>;
    /**
     * A user's VM.
     * For administrators, and for the user whose VM it is.
     */
    vm(params: UserVmParams, options?: CallOptions): Promise<UserVmModel>;
    /**
     * Starts a user's VM, or wakes it.
     * For administrators, and for the user whose VM it is.
     */
    start(params: UserStartParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    start(params: UserStartParams & { wait?: true }, options?: CallOptions): Promise<UserVmModel>;
    start(params: UserStartParams, options?: CallOptions): Promise<UserVmModel | JobStarted>;
    /**
     * Suspends a user's VM.
     * For administrators, and for the user whose VM it is.
     */
    stop(params: UserStopParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    stop(params: UserStopParams & { wait?: true }, options?: CallOptions): Promise<UserVmModel>;
    stop(params: UserStopParams, options?: CallOptions): Promise<UserVmModel | JobStarted>;
    /**
     * All VMs that are users'; for who is no administrator the own one.
     * For users who are known; who is no administrator sees what is his own.
     */
    list(params?: NoParams, options?: CallOptions): Promise<UserVmList>;
  };
  readonly image: {
    /**
     * Images that are here, one for each reference.
     * For users who are known; who is no administrator sees what is his own.
     */
    list(params?: NoParams, options?: CallOptions): Promise<ImageList>;
    /**
     * Gets an image from its registry.
     * For administrators.
     */
    pull(params: ImagePullParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    pull(params: ImagePullParams & { wait?: true }, options?: CallOptions): Promise<ImageModel>;
    pull(params: ImagePullParams, options?: CallOptions): Promise<ImageModel | JobStarted>;
    /**
     * Makes an image of a tar: a root file system, an OCI layout, or what docker save writes.
     * For administrators.
     */
    import(params: ImageImportParams & { wait: false }, options?: CallOptions): Promise<JobStarted>;
    import(params: ImageImportParams & { wait?: true }, options?: CallOptions): Promise<ImageModel>;
    import(params: ImageImportParams, options?: CallOptions): Promise<ImageModel | JobStarted>;
    /**
     * Removes a reference and, with the last one, its image.
     * For administrators.
     */
    delete(params: ImageDeleteParams, options?: CallOptions): Promise<ImageDeleted>;
  };
  readonly job: {
    /**
     * How far a job is, or how it ended.
     * For users who are known; who is no administrator sees what is his own.
     */
    get(params: JobGetParams, options?: CallOptions): Promise<Job>;
    /**
     * Undoes what a job has done so far.
     * For users who are known; who is no administrator sees what is his own.
     */
    cancel(params: JobCancelParams, options?: CallOptions): Promise<Canceled>;
  };
  readonly audit: {
    /**
     * Who changed what by which road, newest last; for who is no administrator of the own VM.
     * For users who are known; who is no administrator sees what is his own.
     */
    query(params?: AuditQueryParams, options?: CallOptions): Promise<AuditEntries>;
  };
}

/** Each by its name, for call() and batch(). */
export interface MethodTypes {
  'info': { params: NoParams; result: Info };
  'health': { params: NoParams; result: Health };
  'rpc.discover': { params: NoParams; result: Document };
  'vm.list': { params: NoParams; result: VmList };
  'vm.get': { params: VmGetParams; result: VmModel };
  'vm.create': { params: VmCreateParams; result: VmModel | JobStarted };
  'vm.start': { params: VmStartParams; result: VmModel | JobStarted };
  'vm.stop': { params: VmStopParams; result: VmModel | JobStarted };
  'vm.restart': { params: VmRestartParams; result: VmModel | JobStarted };
  'vm.delete': { params: VmDeleteParams; result: DeletedModel | JobStarted };
  'vm.suspend': { params: VmSuspendParams; result: VmModel | JobStarted };
  'vm.hibernate': { params: VmHibernateParams; result: VmModel | JobStarted };
  'vm.resume': { params: VmResumeParams; result: VmModel | JobStarted };
  'vm.set_resources': { params: VmSetResourcesParams; result: VmModel };
  'vm.exec': { params: VmExecParams; result: ExecResult };
  'vm.logs': { params: VmLogsParams; result: VmLogs };
  'vm.console.endpoint': { params: VmConsoleEndpointParams; result: VmConsole };
  'vm.wait': { params: VmWaitParams; result: VmWait };
  'vm.metrics.query': { params: VmMetricsQueryParams; result: VmMetrics };
  'events.tail': { params: EventsTailParams; result: Events };
  'user.provision': { params: UserProvisionParams; result: UserVmModel | JobStarted };
  'user.deprovision': { params: UserDeprovisionParams; result: DeletedModel | JobStarted };
  'user.vm': { params: UserVmParams; result: UserVmModel };
  'user.start': { params: UserStartParams; result: UserVmModel | JobStarted };
  'user.stop': { params: UserStopParams; result: UserVmModel | JobStarted };
  'user.list': { params: NoParams; result: UserVmList };
  'image.list': { params: NoParams; result: ImageList };
  'image.pull': { params: ImagePullParams; result: ImageModel | JobStarted };
  'image.import': { params: ImageImportParams; result: ImageModel | JobStarted };
  'image.delete': { params: ImageDeleteParams; result: ImageDeleted };
  'job.get': { params: JobGetParams; result: Job };
  'job.cancel': { params: JobCancelParams; result: Canceled };
  'audit.query': { params: AuditQueryParams; result: AuditEntries };
}
