{{/* The pod of shards: Ray starts them in it. Call with (list $ GROUP). */}}
{{- define "hermes.shardPod" -}}
{{- $root := index . 0 -}}{{- $group := index . 1 -}}
{{- $model := $root.Values.model -}}
{{- include "hermes.pod" (list $root $group (include "hermes.fullname" $root)) }}
terminationGracePeriodSeconds: {{ $group.terminationGracePeriodSeconds }}
{{- if $model.download.repository }}
initContainers:
  - name: fetch-model
    image: {{ include "hermes.image" (list $root $group.image) }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    securityContext:
      {{- include "hermes.containerSecurity" $root | nindent 6 }}
    command:
      - hf
      - download
      - {{ $model.download.repository | quote }}
      - --revision={{ $model.download.revision }}
      - --local-dir={{ $model.name }}
    env:
      - {name: HF_HUB_OFFLINE, value: "0"}
      - {name: HOME, value: /tmp}
    resources:
      requests: {cpu: 500m, memory: 2Gi}
      limits: {memory: 2Gi}
    volumeMounts:
      - {name: models, mountPath: /models}
      - {name: scratch, mountPath: /tmp}
{{- end }}
containers:
  - name: shard
    image: {{ include "hermes.image" (list $root $group.image) }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    securityContext:
      {{- include "hermes.containerSecurity" $root | nindent 6 }}
    env:
      {{- include "hermes.rayEnvironment" $root | nindent 6 }}
      - {name: RAY_LOG_TO_STDERR, value: "1"}   # so that `kubectl logs` shows the shards
      - {name: NVIDIA_DRIVER_CAPABILITIES, value: "compute,utility,video"}
    ports:
      - {name: metrics, containerPort: 8080}
      - {name: agent, containerPort: 52365}
    {{- include "hermes.rayProbes" $root | nindent 4 }}
    lifecycle:
      preStop:
        exec: {command: [hermes, node, drain, --deadline, {{ $group.drainDeadlineSeconds | quote }}]}
    resources:
      requests:
        cpu: {{ $group.cpus | quote }}
        memory: {{ $group.memory }}
        {{- if $group.gpus }}
        nvidia.com/gpu: {{ $group.gpus | quote }}
        {{- end }}
      limits:
        memory: {{ $group.memory }}
        {{- if $group.gpus }}
        nvidia.com/gpu: {{ $group.gpus | quote }}
        {{- end }}
    volumeMounts:
      - {name: scratch, mountPath: /tmp}
      - {name: shm, mountPath: /dev/shm}
      {{- if or $model.volumeClaim $model.download.repository }}
      - {name: models, mountPath: /models, readOnly: true}
      {{- end }}
volumes:
  - name: scratch
    emptyDir: {sizeLimit: {{ $group.scratch }}}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ $group.sharedMemory }}}
  {{- if $model.volumeClaim }}
  - name: models
    persistentVolumeClaim: {claimName: {{ $model.volumeClaim }}, readOnly: true}
  {{- else if $model.download.repository }}
  - name: models
    emptyDir: {sizeLimit: {{ $model.download.size }}}
  {{- end }}
{{- end }}
