{{- define "imagepush.name" -}}
{{- $name := .Release.Name -}}
{{- if contains "imagepush" $name -}}{{ $name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-imagepush" ($name | trunc 40) }}{{- end -}}
{{- end -}}

{{- define "imagepush.selector" -}}
app.kubernetes.io/name: imagepush
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "imagepush.labels" -}}
{{ include "imagepush.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
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
