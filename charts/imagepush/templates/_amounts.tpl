{{- /* What the program would refuse to start with is refused here, where somebody is there to read it. */ -}}
{{- define "imagepush.amounts" -}}
{{- if lt (include "imagepush.bytes" .Values.maxMemory | int64) 33554432 -}}
{{- fail "maxMemory must be 32Mi at least: what one push needs" -}}
{{- end -}}
{{- with .Values.maxBytesPerSecond -}}
{{- if lt (include "imagepush.bytes" . | int64) 65536 -}}
{{- fail "maxBytesPerSecond must be 64Ki at least: registries give up on connections on which less moves" -}}
{{- end -}}
{{- end -}}
{{- $seconds := include "imagepush.seconds" .Values.timeout | int64 -}}
{{- if or (lt $seconds 1) (gt $seconds 86400) -}}
{{- fail "timeout must be between 1s and 24h" -}}
{{- end -}}
{{- end -}}

{{- /* A number with `Ki`, `Mi` or `Gi`, in bytes. */ -}}
{{- define "imagepush.bytes" -}}
{{- $factors := dict "" 1 "K" 1024 "M" 1048576 "G" 1073741824 -}}
{{- mul (regexFind "^[0-9]+" .) (get $factors (regexFind "[KMG]" .)) -}}
{{- end -}}

{{- /* A duration such as `1h30m`, in seconds. */ -}}
{{- define "imagepush.seconds" -}}
{{- $factors := dict "s" 1 "m" 60 "h" 3600 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[hms]" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" .) (get $factors (regexFind "[hms]" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}
