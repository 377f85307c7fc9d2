{{/* hermes.yaml: .Values.config with what the chart knows. */}}
{{- define "hermes.config" -}}
{{- $v := .Values -}}
{{- $config := deepCopy $v.config -}}
{{- $_ := set $config "model" $v.model.name -}}
{{- $shards := dict
    "ray" (printf "%s-head-svc.%s.svc:6379" (include "hermes.fullname" .) .Release.Namespace)
    "cluster" (printf "%s/%s" .Release.Namespace (include "hermes.fullname" .))
    "node_labels" (dict "hermes-build" (include "hermes.build" (list . dict)))
    "spares" (int $v.shards.spares)
    "settings_version" (int $v.shards.settingsVersion)
    "num_cpus" $v.shards.cpus
    "num_gpus" $v.shards.gpus -}}
{{- if eq (int $v.shards.min) (int $v.shards.max) -}}
{{- $_ := set $shards "count" (int $v.shards.min) -}}
{{- else -}}
{{- $_ := set $shards "min" (int $v.shards.min) -}}
{{- $_ := set $shards "max" (int $v.shards.max) -}}
{{- end -}}
{{- if ne $v.shards.placement "spread" -}}
{{- $_ := set $shards "placement" $v.shards.placement -}}
{{- end -}}
{{- with $v.workers.acceleratorType -}}
{{- $_ := set $shards "accelerator_type" . -}}
{{- end -}}
{{- $_ := set $config "shards" (mergeOverwrite (deepCopy ($config.shards | default dict)) $shards) -}}
{{- $router := dict
    "host" "0.0.0.0" "port" 50051 "health_port" 50052
    "max_concurrent_calls" (int $v.routers.maxConcurrentCalls)
    "grace_s" $v.routers.graceSeconds -}}
{{- if $v.tls.secret -}}
{{- $tls := dict "certificate" "/etc/hermes/tls/tls.crt" "key" "/etc/hermes/tls/tls.key" -}}
{{- if $v.tls.requireClientCertificates -}}
{{- $_ := set $tls "client_ca" "/etc/hermes/tls/ca.crt" -}}
{{- end -}}
{{- $_ := set $router "tls" $tls -}}
{{- else -}}
{{- $_ := set $router "insecure" true -}}
{{- end -}}
{{- $_ := set $config "router" (mergeOverwrite (deepCopy ($config.router | default dict)) $router) -}}
{{- $_ := set $config "auth" (dict "token_file" "/etc/hermes/auth/token") -}}
{{- if $v.store.urlSecret -}}
{{- $_ := set $config "store" "${HERMES_STORE_URL}" -}}
{{- else -}}
{{- $_ := set $config "store" (printf "redis://hermes:${HERMES_STORE_PASSWORD}@%s-store.%s.svc:6379" (include "hermes.fullname" .) .Release.Namespace) -}}
{{- end -}}
{{- if $v.monitoring.metrics -}}
{{- $_ := set $config "metrics" (dict "host" "0.0.0.0" "port" 9464 "insecure" true "per_camera" $v.monitoring.perCamera) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}
