{{- define "imagepush.name" -}}
{{- $release := .Release.Name -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride }}
{{- else if contains "imagepush" $release -}}{{ $release | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-imagepush" ($release | trunc 40 | trimSuffix "-") }}
{{- end -}}
{{- end -}}

{{- /* What belongs to the whole cluster carries the namespace, so that releases of the same name can't meet. */ -}}
{{- define "imagepush.clusterName" -}}
{{ .Release.Namespace }}:{{ include "imagepush.name" . }}
{{- end -}}

{{- define "imagepush.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "imagepush.name" .) }}
{{- else -}}
{{ required "serviceAccount.name must be set where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "imagepush.selector" -}}
app.kubernetes.io/name: imagepush
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "imagepush.labels" -}}
{{ include "imagepush.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "imagepush.image" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository must be set: the image of the operator that your cluster can pull, such as --set image.repository=registry.example/imagepush" -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The port of `listen`, which is IP:PORT. */ -}}
{{- define "imagepush.port" -}}
{{ regexFind "[0-9]+$" .Values.listen }}
{{- end -}}

{{- /* What the pods of Jobs are like, as the operator takes it. */ -}}
{{- define "imagepush.jobPod" -}}
{{- $pod := dict -}}
{{- range $name := list "resources" "labels" "annotations" "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" "imagePullSecrets" "env" "volumes" "volumeMounts" "scratchSize" -}}
{{- with index $.Values.jobs $name -}}
{{- $_ := set $pod $name . -}}
{{- end -}}
{{- end -}}
{{- $pod | toJson -}}
{{- end -}}
