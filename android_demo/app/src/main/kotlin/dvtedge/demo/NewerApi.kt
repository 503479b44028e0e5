package dvtedge.demo

/** On a function that calls what API 26 lacks, behind a check of SDK_INT: animal-sniffer passes over it. */
@Retention(AnnotationRetention.BINARY)
@Target(AnnotationTarget.FUNCTION)
annotation class NewerApi
