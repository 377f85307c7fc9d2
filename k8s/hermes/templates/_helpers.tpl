{{- define "hermes.fullname" -}}
{{- $name := contains "hermes" .Release.Name | ternary .Release.Name (printf "%s-hermes" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select: of a component of this release. Call with (list $ "COMPONENT"). */}}
{{- define "hermes.selector" -}}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of a component: KubeRay sets app.kubernetes.io/name of its pods itself, so no selector uses that. */}}
{{- define "hermes.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: hermes
{{ include "hermes.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* The image, with a digest or a tag. Call with (list $ IMAGE), IMAGE overriding keys of .Values.image. */}}
{{- define "hermes.image" -}}
{{- $root := index . 0 -}}
{{- $image := mergeOverwrite (deepCopy $root.Values.image) (index . 1 | default dict) -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The name of the code in an image, fit for a label: routers start shards only where their own code is. As hermes.image. */}}
{{- define "hermes.build" -}}
{{- $root := index . 0 -}}
{{- $image := mergeOverwrite (deepCopy $root.Values.image) (index . 1 | default dict) -}}
{{- $image.digest | trimPrefix "sha256:" | trunc 16 | default $image.tag | default $root.Chart.AppVersion | trunc 63 -}}
{{- end }}

{{- define "hermes.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hermes.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What every pod but the stores begins with. Call with (list $ VALUES-OF-THE-PART SERVICE-ACCOUNT). */}}
{{- define "hermes.pod" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}
serviceAccountName: {{ index . 2 }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "hermes.podSecurity" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What Ray must be told in every pod of the cluster, routers included (docs/cluster.md has the reasons). */}}
{{- define "hermes.rayEnvironment" -}}
- {name: RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, value: "1"}
- {name: RAY_gcs_rpc_server_reconnect_timeout_s, value: "600"}
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_BACKEND_LOG_LEVEL, value: warning}
- {name: RAY_ROTATION_MAX_BYTES, value: "16777216"}
- {name: RAY_ROTATION_BACKUP_COUNT, value: "2"}
- {name: RAY_health_check_period_ms, value: "300"}
- {name: RAY_health_check_timeout_ms, value: "1000"}
- {name: RAY_health_check_failure_threshold, value: "3"}
- {name: MALLOC_ARENA_MAX, value: "2"}
- {name: HOME, value: /tmp}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.ray.authSecret }}, key: auth_token}}
{{- end }}

{{/* A raylet is alive: the probes that KubeRay gives Ray's containers, so that none depends on its version. */}}
{{- define "hermes.rayProbes" -}}
startupProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 24
readinessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* The settings of every group of workers by name, as YAML: `workers` with what the group changes. */}}
{{- define "hermes.groups" -}}
{{- $groups := dict -}}
{{- range $name, $changes := .Values.workerGroups -}}
{{- if not (kindIs "invalid" $changes) -}}
{{- $_ := set $groups $name (mergeOverwrite (deepCopy $.Values.workers) (deepCopy $changes)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end }}

{{/* Shards that one pod of a group has room for. Call with (list $ GROUP). */}}
{{- define "hermes.shardsPerPod" -}}
{{- $shards := (index . 0).Values.shards -}}{{- $group := index . 1 -}}
{{- $byCpu := gt (float64 $shards.cpus) 0.0 | ternary (divf $group.cpus (max (float64 $shards.cpus) 0.001 | default 1) | floor | int) 1000 -}}
{{- if gt (float64 $shards.gpus) 0.0 -}}
{{- min $byCpu (divf $group.gpus $shards.gpus | floor | int) -}}
{{- else -}}
{{- $byCpu -}}
{{- end -}}
{{- end }}

{{/* The address of the head's state, and of the store in the chart. */}}
{{- define "hermes.rayStateAddress" -}}
{{- .Values.ray.state.address | default (printf "redis://%s-ray-state.%s.svc:6379" (include "hermes.fullname" .) .Release.Namespace) -}}
{{- end }}

{{/* One egress rule: to the stores outside of the chart. */}}
{{- define "hermes.outerStores" -}}
ports:
  {{- range .Values.networkPolicy.storePorts }}
  - port: {{ . }}
  {{- end }}
to:
  {{- range .Values.networkPolicy.storeNetworks }}
  - ipBlock: {cidr: {{ . }}}
  {{- end }}
{{- end }}

{{/* One egress rule: to the store of memories, wherever it is. */}}
{{- define "hermes.storePeers" -}}
{{- if .Values.store.trial -}}
ports: [{port: 6379}]
to:
  - podSelector:
      matchLabels:
        {{- include "hermes.selector" (list . "store") | nindent 8 }}
{{- else -}}
{{- include "hermes.outerStores" . }}
{{- end -}}
{{- end }}

{{/* One egress rule, or none: to the collector of spans. */}}
{{- define "hermes.tracesEgress" -}}
{{- with .Values.config.traces -}}
- ports: [{port: {{ .endpoint | trimSuffix "/" | splitList ":" | last | int }}}]
{{- end -}}
{{- end }}
