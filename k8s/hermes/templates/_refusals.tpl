{{/* Values that contradict each other: each is refused in words that name the keys and the way out. */}}
{{- define "hermes.refuse" -}}
{{- include "hermes.refuseStores" . -}}
{{- include "hermes.refuseTrialStore" . -}}
{{- include "hermes.refuseShards" . -}}
{{- include "hermes.refuseConfig" . -}}
{{- include "hermes.refuseImages" . -}}
{{- include "hermes.refuseSecrets" . -}}
{{- end }}

{{- define "hermes.refuseStores" -}}
{{- $v := .Values -}}
{{- if and $v.store.urlSecret $v.store.trial -}}
{{- fail (printf "store.urlSecret is %q and store.trial is true: leave one of them out; memories are kept in one store" $v.store.urlSecret) -}}
{{- end -}}
{{- if not (or $v.store.urlSecret $v.store.trial) -}}
{{- fail "store: there is none. Name the Secret with the URL of a Redis or Valkey in store.urlSecret, or set store.trial: true for one in the chart" -}}
{{- end -}}
{{- if and $v.ray.state.address $v.ray.state.trial -}}
{{- fail (printf "ray.state.address is %q and ray.state.trial is true: leave one of them out" $v.ray.state.address) -}}
{{- end -}}
{{- if not (or $v.ray.state.address $v.ray.state.trial) -}}
{{- fail "ray.state: there is no store for the state of Ray's head, without which its restart ends every shard. Set ray.state.address, or ray.state.trial: true for one in the chart" -}}
{{- end -}}
{{- if eq $v.store.trialSecret $v.ray.state.secret -}}
{{- fail (printf "store.trialSecret and ray.state.secret are both %q: the two stores need passwords of their own" $v.ray.state.secret) -}}
{{- end -}}
{{- end }}

{{- define "hermes.refuseTrialStore" -}}
{{- $v := .Values -}}{{- $units := dict "mb" 1048576 "gb" 1073741824 "M" 1e6 "G" 1e9 "T" 1e12 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $nbytes := dict -}}
{{- range $key := list "memory" "maxMemory" -}}
{{- $text := get $v.trialStore $key -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $_ := set $nbytes $key (mulf (float64 $number) (get $units (trimPrefix $number $text) | float64)) -}}
{{- end -}}
{{- if and (or $v.store.trial $v.ray.state.trial) (ge (float64 $nbytes.maxMemory) (float64 $nbytes.memory)) -}}
{{- fail (printf "trialStore.maxMemory is %s and trialStore.memory %s: the store would be killed before it is full. Let maxMemory be a quarter less than memory" $v.trialStore.maxMemory $v.trialStore.memory) -}}
{{- end -}}
{{- end }}

{{- define "hermes.refuseShards" -}}
{{- $v := .Values -}}{{- $shards := $v.shards -}}
{{- $groups := include "hermes.groups" . | fromYaml -}}
{{- if not $groups -}}
{{- fail "workerGroups: there is none; leave workerGroups out for one group as in `workers`" -}}
{{- end -}}
{{- if gt (int $shards.min) (int $shards.max) -}}
{{- fail (printf "shards.min is %d and shards.max %d: raise shards.max, or lower shards.min" (int $shards.min) (int $shards.max)) -}}
{{- end -}}
{{- if ge (int $shards.spares) (int $shards.max) -}}
{{- fail (printf "shards.spares is %d and shards.max %d: a spare is one of the shards, so at least one more is needed" (int $shards.spares) (int $shards.max)) -}}
{{- end -}}
{{- $least := 0 -}}{{- $most := 0 -}}
{{- range $name, $group := $groups -}}
{{- if and (gt (float64 $shards.gpus) 0.0) (not $group.gpus) -}}
{{- fail (printf "shards.gpus is %v and group %q has workers.gpus 0: no shard can start there. Set workers.gpus, or shards.gpus: 0 for the CPU" $shards.gpus $name) -}}
{{- end -}}
{{- if and $group.gpus (eq (float64 $shards.gpus) 0.0) -}}
{{- fail (printf "workers.gpus is %d in group %q and shards.gpus is 0: its GPUs would idle. Set shards.gpus: 1, or workers.gpus: 0" (int $group.gpus) $name) -}}
{{- end -}}
{{- $room := include "hermes.shardsPerPod" (list $ $group) | int -}}
{{- if lt $room 1 -}}
{{- fail (printf "group %q: a pod has %v CPUs and %v GPUs (workers.cpus, workers.gpus), and a shard needs %v and %v (shards.cpus, shards.gpus): no shard can start there" $name $group.cpus $group.gpus $shards.cpus $shards.gpus) -}}
{{- end -}}
{{- if and $group.gpus (ne (float64 (mulf $room $shards.gpus)) (float64 $group.gpus)) -}}
{{- fail (printf "group %q: of the %d GPUs of a pod (workers.gpus), %d shards with %v GPUs and %v CPUs each use %v. Let workers.gpus be a multiple of shards.gpus, and give workers.cpus for all of them" $name (int $group.gpus) $room $shards.gpus $shards.cpus (mulf $room $shards.gpus)) -}}
{{- end -}}
{{- if gt (int $group.minReplicas) (int $group.maxReplicas) -}}
{{- fail (printf "group %q: workers.minReplicas is %d and workers.maxReplicas %d" $name (int $group.minReplicas) (int $group.maxReplicas)) -}}
{{- end -}}
{{- if lt (int $group.terminationGracePeriodSeconds) (add 20 $group.drainDeadlineSeconds | int) -}}
{{- fail (printf "group %q: workers.terminationGracePeriodSeconds is %d and workers.drainDeadlineSeconds %d: a pod would be killed while its cameras move. Let the grace be at least %d" $name (int $group.terminationGracePeriodSeconds) (int $group.drainDeadlineSeconds) (add 20 $group.drainDeadlineSeconds | int)) -}}
{{- end -}}
{{- $least = add $least (mul $room $group.minReplicas) -}}
{{- $most = add $most (mul $room $group.maxReplicas) -}}
{{- end -}}
{{- if gt (int $shards.max) (int $most) -}}
{{- fail (printf "shards.max is %d, and the pods of all worker groups have room for %d (workers.maxReplicas, workers.cpus, workers.gpus): raise workers.maxReplicas, or lower shards.max" (int $shards.max) (int $most)) -}}
{{- end -}}
{{- if gt (int $least) (int $shards.max) -}}
{{- fail (printf "workers.minReplicas: the pods that always run have room for %d shards, and shards.max is %d: the rest would idle. Lower workers.minReplicas, or raise shards.max" (int $least) (int $shards.max)) -}}
{{- end -}}
{{- end }}

{{/* Keys of hermes.yaml that values of the chart decide. */}}
{{- define "hermes.refuseConfig" -}}
{{- $config := .Values.config -}}
{{- $own := dict
    "model" "model.name" "store" "store" "auth" "auth.secret" "metrics" "monitoring" "shards.count" "shards.min and shards.max"
    "shards.min" "shards.min" "shards.max" "shards.max" "shards.spares" "shards.spares" "shards.ray" "nothing: the chart knows it"
    "shards.num_cpus" "shards.cpus" "shards.num_gpus" "shards.gpus" "shards.settings_version" "shards.settingsVersion"
    "shards.placement" "shards.placement" "shards.accelerator_type" "workers.acceleratorType"
    "shards.cluster" "nothing: the chart knows it" "shards.node_labels" "image.tag"
    "router.host" "nothing: the chart knows it" "router.port" "routers.service.port" "router.health_port" "nothing: the chart knows it"
    "router.tls" "tls.secret" "router.insecure" "tls.insecure" "router.max_concurrent_calls" "routers.maxConcurrentCalls"
    "router.grace_s" "routers.graceSeconds" -}}
{{- range $key, $value := $own -}}
{{- $parts := splitList "." $key -}}
{{- $section := index $parts 0 | get $config -}}
{{- $is := hasKey $config (index $parts 0) -}}
{{- if eq (len $parts) 2 -}}
{{- $is = and (kindIs "map" $section) (hasKey ($section | default dict) (index $parts 1)) -}}
{{- end -}}
{{- if $is -}}
{{- fail (printf "config.%s: the chart writes this key; set %s instead" $key $value) -}}
{{- end -}}
{{- end -}}
{{- with $config.traces -}}
{{- if not (regexMatch "^https?://.+:[0-9]+/?$" (.endpoint | default "")) -}}
{{- fail "config.traces.endpoint is not http://HOST:PORT or https://HOST:PORT of an OTLP collector (gRPC)" -}}
{{- end -}}
{{- end -}}
{{- if kindIs "slice" $config.cameras -}}
{{- range $camera := $config.cameras -}}
{{- if and (kindIs "map" $camera) (or (hasKey $camera "password") (regexMatch "://.*@" (get $camera "url" | toString))) -}}
{{- fail (printf "config.cameras: camera %q has a password, and whoever may read ConfigMaps would see it. Leave it out, and add it with: hermes cameras add NAME URL --user USER --password-file FILE" (get $camera "name" | toString)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.model.volumeClaim .Values.model.download.repository -}}
{{- fail "model.volumeClaim and model.download.repository: leave one of them out" -}}
{{- end -}}
{{- $needsFolder := or .Values.model.volumeClaim .Values.model.download.repository -}}
{{- if and $needsFolder (not (hasPrefix "/models/" .Values.model.name)) -}}
{{- fail (printf "model.name is %q: weights from model.volumeClaim or model.download are in a folder below /models, e.g. /models/llava-onevision-7b" .Values.model.name) -}}
{{- end -}}
{{- if and (not $needsFolder) (not (has .Values.model.name (list "tiny" "tiny-qwen3-vl"))) -}}
{{- fail (printf "model.name is %q, and pods have no weights of it: name a claim in model.volumeClaim, or a revision in model.download" .Values.model.name) -}}
{{- end -}}
{{- if and .Values.model.download.repository (not .Values.model.download.revision) -}}
{{- fail "model.download.revision is empty: name the commit (40 digits), so that every pod has the same weights" -}}
{{- end -}}
{{- end }}

{{- define "hermes.refuseImages" -}}
{{- $tags := dict "image.tag" .Values.image.tag -}}
{{- range $name, $group := include "hermes.groups" . | fromYaml -}}
{{- with $group.image -}}
{{- $_ := set $tags (printf "workerGroups.%s.image.tag" $name) (.tag | default "") -}}
{{- end -}}
{{- end -}}
{{- range $key, $tag := $tags -}}
{{- if eq $tag "latest" -}}
{{- fail (printf "%s is latest: nobody can say later what ran, and pods may run different versions. Name a version, or set the digest" $key) -}}
{{- end -}}
{{- end -}}
{{- with .Values.trialStore.image -}}
{{- if or (hasSuffix ":latest" .) (not (regexMatch "[:@][^/]+$" .)) -}}
{{- fail (printf "trialStore.image is %q: name a version or a digest" .) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "hermes.refuseSecrets" -}}
{{- $v := .Values -}}
{{- if and $v.monitoring.metrics (eq (int $v.routers.service.port) 9464) -}}
{{- fail "routers.service.port is 9464, where the same Service has the metrics: choose another port" -}}
{{- end -}}
{{- if and (not $v.tls.secret) (not $v.tls.insecure) -}}
{{- fail "tls.secret is empty: name the Secret with tls.crt, tls.key and ca.crt, or accept with tls.insecure: true that the token and every answer cross the network in clear text" -}}
{{- end -}}
{{- if and $v.tls.secret $v.tls.insecure -}}
{{- fail (printf "tls.secret is %q and tls.insecure is true: leave one of them out" $v.tls.secret) -}}
{{- end -}}
{{- if and $v.tls.requireClientCertificates (not $v.tls.secret) -}}
{{- fail "tls.requireClientCertificates is true and tls.secret is empty: name the Secret whose ca.crt has signed the clients' certificates" -}}
{{- end -}}
{{- $needed := dict $v.auth.secret (list "token") $v.ray.authSecret (list "auth_token") -}}
{{- if $v.store.trial }}{{- $_ := set $needed $v.store.trialSecret (list "password") -}}{{- else -}}{{- $_ := set $needed $v.store.urlSecret (list "url") -}}{{- end -}}
{{- $_ := set $needed $v.ray.state.secret (list "password") -}}
{{- if $v.tls.secret }}{{- $_ := set $needed $v.tls.secret (list "tls.crt" "tls.key" "ca.crt") -}}{{- end -}}
{{/* Without a cluster, as in `helm template`, lookup finds nothing, the namespace included. */}}
{{- if lookup "v1" "Namespace" "" .Release.Namespace -}}
{{- range $name, $keys := $needed -}}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace $name -}}
{{- if not $secret -}}
{{- fail (printf "Secret %q is not in namespace %q; it needs the keys %s: kubectl --namespace %s create secret generic %s (docs/kubernetes.md)" $name $.Release.Namespace (join ", " $keys) $.Release.Namespace $name) -}}
{{- end -}}
{{- range $key := $keys -}}
{{- if not (hasKey ($secret.data | default dict) $key) -}}
{{- fail (printf "Secret %q in namespace %q has no key %q" $name $.Release.Namespace $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
