from kennel.domain.record import Build, Project, TenantRecord

__all__ = ["Build", "Project", "TenantRecord"]
